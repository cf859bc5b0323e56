"""From an exported model folder to a GGUF file, the form of llama.cpp and Ollama.

In: a folder that `model_export` wrote. Out: one file with weights, hyperparameters, vocabulary and
chat template, by the `gguf` library.

Open `gguf_file` first: it writes tensor by tensor. `gguf_family` knows which models llama.cpp reads
in which layout, `gguf_vocabulary` turns a vocabulary into llama.cpp's keys.
"""
