"""Turn records into encoded documents.

    RawRecord --texts--> texts --templates, chat--> Document --encoding--> EncodedDocument

In: records and the corpus file that describes them. Out: documents, each a list of segments (text,
supervised), encoded between one BOS and one EOS; or a bad record with its reason.

Open `templates` first: it lists the templates and builds segments. `chat_template` renders a
conversation with the model's own Jinja template. `quarantine` counts bad records and stops the
source when there are too many.
"""
