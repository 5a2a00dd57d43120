"""``--vectors``: a model as vectors for a search engine, a folder with these files:

- ``user.onnx``: a history of item tokens, or a user token, comes in, and the user's vector out, float32 [batch, d]
- ``items.npy`` and ``items.parquet``: the items' vectors, float32 [items, d]; the latter with their tokens
- ``fold_in.onnx``, for a model of users by name: a history comes in, and a vector for a user who is not in training

The inner product of two vectors is the model's score of an item. Items of the history are not left out: the engine must do
that. See ``export/vectors/README.md`` for engines.
"""
