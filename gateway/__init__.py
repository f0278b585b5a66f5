"""HTTP in, broker messages out, streams back. Holds nothing that its death would lose; run as many as you like.

    serve.py      the process: `python -m gateway`
    app.py        the routes
    intent.py     POST /intent, /runs, /invoke/{function}: commands
    runs.py       GET /runs/{id}, /capabilities, /functions: what became of them, and what there is
    streams.py    GET /stream/{session}: facts as SSE or NDJSON
    ready.py      GET /health, /ready
    docs.py       GET /openapi.json, /docs
    context.py    what all routes share: the link to the broker, who may do what
    link.py       the connection to the broker, made in the background and kept
    auth.py       who asks: API keys
    keys.py       the file of API keys, and how a key is made
    errors.py     the one shape of errors
    settings.py   how it is configured

Imports schemas and runtime.client only: what it reads of the log it asks a pod for, by message.
"""
