"""Ensembles (DistrEE): students that share an answer, trained together under a teacher.

partition             which filters of the teacher each student learns from (eq. 1)
teacher               the teacher, frozen, and what each student is to learn of it
students              the students and their one classifier
distillation          what they learn: eq. 4 and 5, mixtures, missing students
views                 augmented copies that come again, so that the teacher is asked once
distiller             the training
evaluation            how good an ensemble is: by branch, in mixtures, with a student missing
paper_policies        the rows of Table II
ensemble_bundles      an ensemble becomes a bundle
distillation_command  `python -m edgesdk.train distill` and `evaluate`
"""
