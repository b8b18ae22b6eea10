"""Environments: task offloading, batched on tensors (`offloading`) and as a Gymnasium environment (`gym_view`)."""
