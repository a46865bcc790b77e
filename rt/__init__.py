"""The relational transformer: stores, batches, the model, training, evaluation."""
