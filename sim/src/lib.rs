//! Signal and push simulators.
