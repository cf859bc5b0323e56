"""Storage: files on this machine and remote ones, read by ranges, with retries.

    Pattern --expand over Folders--> Location --open_file--> File --read_at, read--> bytes

A *pattern* (`patterns`) is expanded in one way, whether its folders are `local` or `remote`. A
*location* is a path or a URL (`urls`). After a transient failure (a dropped connection, a busy
server, an unavailable NFS server) a read resumes at the byte it reached, and a folder is listed
again, a bounded number of times (`retries`). The final failure is an error, never a damaged file
or an empty folder.
Nothing is downloaded as a whole: a stream fetches one block while the previous one is used.

fsspec and a scheme's dependencies are imported when the first URL is used.
"""
