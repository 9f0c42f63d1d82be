"""Augmented copies that come again: what is asked of a teacher, and how often."""

import torch
from tiny_training import TINY

from edgesdk.train.ensembles.views import Taught, Views


class Teacher:
    """Says of an image what its pixels sum to; counts the images."""

    def __init__(self):
        self.batches = []

    def ask(self, images):
        self.batches.append(len(images))
        sums = images.sum((1, 2, 3))
        return Taught(sums[:, None], sums[:, None, None])


def views(count, seed=0):
    teacher = Teacher()
    return Views(count, seed, TINY, 20, teacher.ask), teacher


def begun(made, epoch):
    images, _ = TINY.load("train")
    made.begin(epoch, images)
    return made.images(torch.arange(len(images)))


def test_a_view_comes_again_when_all_others_have_been():
    made, _ = views(3)
    seen = [begun(made, epoch) for epoch in range(6)]
    for epoch in range(3):
        assert torch.equal(seen[epoch], seen[epoch + 3])
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], TINY.load("train").images)


def test_the_teacher_is_asked_once_of_each_view_in_batches():
    made, teacher = views(2)
    for epoch in range(5):
        begun(made, epoch)
    assert teacher.batches == [20, 20, 8] * 2


def test_answers_belong_to_the_copies_at_the_same_places():
    made, _ = views(2)
    places = torch.tensor([40, 3, 17])
    for epoch in range(4):
        begun(made, epoch)
        taught = made.taught(places)
        assert torch.allclose(taught.logits[:, 0], made.images(places).sum((1, 2, 3)), rtol=1e-4)
        assert torch.equal(taught.vectors[:, 0], taught.logits)


def test_copies_and_answers_depend_on_the_seed_and_the_view_alone():
    made, again, other = views(2)[0], views(2)[0], views(2, seed=1)[0]
    begun(made, 0)
    assert torch.equal(begun(made, 1), begun(again, 1))
    assert torch.equal(made.taught(torch.arange(48)).logits, again.taught(torch.arange(48)).logits)
    assert not torch.equal(begun(made, 1), begun(other, 1))
