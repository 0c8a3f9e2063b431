"""What an evaluation is made of: resampling, calibration, order within groups, paired comparison."""
