"""From a bundle to a better bundle: outcomes, measured times, thresholds, a plan, a plot.

recording     run the bundle over the calibration and test splits -> outcomes
merging       neighbouring segments as one ONNX file
measuring     what each stage, head and turn of the runtime takes
costs         what an image costs that leaves at an exit, in multiply-adds or microseconds
thresholds    a family of thresholds with one knob, for every kind of policy
choice        which exits to keep, and where to turn the knob
temperature   how far the probabilities of each exit can be believed
codecs        what features that travel by a lossy codec cost in accuracy
plot          accuracy against cost
command       `python -m edgesdk.train calibrate`

and of ensembles, beside these

ensembles         features, thresholds, figures -> better policies
ensemble_choice   one policy for all students
ensemble_figures  what a policy reaches and costs, the oracle
ensemble_plot     accuracy against multiply-adds
ensemble_command  what the command says
"""
