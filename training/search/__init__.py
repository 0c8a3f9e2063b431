"""Search: a recipe with other values, judged on the validation split."""
