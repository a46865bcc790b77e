"""The relational transformer: stores, batches, the model, training, evaluation."""

import os

# OpenMP's threads spin while they wait, which halts a machine whose cores have anything else to
# do: with one busy process beside it, training runs five times as fast with waiting threads asleep.
# It counts only before torch is first imported; a value of the user's own is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
