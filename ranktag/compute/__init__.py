"""Where and how numbers are computed: devices, and what makes processors fast."""
