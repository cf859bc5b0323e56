"""Where bytes come from: files on this machine and remote ones, read by ranges, with patience.

    Pattern --expand over Folders--> Location --open_file--> File --read_at, read--> bytes

A *pattern* (`patterns`) is expanded in one way, whether the folders are here (`local`) or far away
(`remote`). A *location* is a path or a URL (`urls`). A read that fails in a way that may pass (a
dropped connection, a server that is busy, an NFS server that is away) goes on at the byte it
reached, a bounded number of times (`retries`), and a folder is listed again; what is given up on
is an error, never a damaged file or an empty folder.
Nothing is downloaded as a whole: a stream fetches one block while the one before it is used.

fsspec and what it needs for a scheme are imported when the first URL is met.
"""
