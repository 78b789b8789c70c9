"""What bench/compare is made of. Read workloads.py first: it says what is measured and what is demanded."""
