"""What all tests share: one thread, so that results do not depend on the machine and test processes do not compete."""

import torch

torch.set_num_threads(1)
