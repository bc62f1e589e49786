//! Fairway's engine: transaction, plan, reconcile.
