"""The router: from a sentence to the capability that answers it.

    router.py       the kind: classifies, asks back, goes on as a child run
    choosing.py     a model's choice, or that of the words when there is none or it answers garbage
    lexical.py      the classifier without a model
    evaluation.py   how good that is, by sentences of one's own
"""
