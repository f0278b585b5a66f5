"""Language models: what is asked of them and what they answer, which one is asked, and by whom it is reached.

    wire.py       messages, requests, completions: the same for every model
    model.py      the port, and the errors of what is behind it
    fleet.py      which model a slot means: fleet.yaml, its overrides, and the rule of routing by cost
    calling.py    asks them: time-outs, fallbacks, a rate limit's Retry-After
    sound.py      what they say, made fit for the wire
    direct.py     an endpoint that speaks OpenAI's protocol, by HTTP
    reached.py    any other model, by litellm
    offline.py    the model that is built in, by rules, and says that it is offline
"""
