"""`scythe ui`: a page in the browser that shows the runs of a project, live or dead; it writes nothing.

A small server on this machine answers the page with what services and `analysis` read. It may use every room below,
and only the command line calls it; Starlette and uvicorn are imported nowhere else.
"""
