"""Export of networks as SavedModels, a model server that speaks TensorFlow Serving's protocol, and its client.

Nothing is imported here: `serving.client` and `serving.wire` must start without TensorFlow.
"""
