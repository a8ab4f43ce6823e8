"""A small graph of Stages over text files, to test what makes a stage run without any picture or model.

Read(a) ─┐
Read(b) ─┴─> Merge (upper case: many inputs, one output) ─> Count ─> Final
"""

from pathlib import Path

import luigi

from greenr_luigi.staleness.stage import Stage, forget

#: What ran, in order; a test empties it.
ran: list[str] = []


class Toy(Stage):
    role = ""

    def work(self, out):
        ran.append(self.title)
        text = self.make()
        (out / "text").write_text(text)
        return {"letters": len(text)}

    def text(self, task):
        return (task.output_folder / "text").read_text()


class Read(Toy):
    name = luigi.Parameter(description="Which file to read.")

    @property
    def title(self):
        return f"Read({self.name})"

    @property
    def file(self):
        return Path(self.root, "inputs", self.name)

    def reads(self):
        return {f"file {self.name}": self.file}

    def make(self):
        return self.file.read_text()


class Merge(Toy):
    glue = luigi.Parameter(default="-", description="What stands between the two: its first letter.")

    def requires(self):
        return [self.clone(Read, name="a"), self.clone(Read, name="b")]

    def make(self):
        return self.glue[0].join(self.text(task).upper() for task in self.requires())


class Count(Toy):
    glue = Merge.glue
    times = luigi.IntParameter(default=1, description="How often to count.")

    def requires(self):
        return self.clone(Merge)

    def make(self):
        return str(len(self.text(self.requires())) * self.times)


class Final(Toy):
    glue = Merge.glue
    times = Count.times
    #: What `outside_cause` says; a test sets it.
    dead = None

    def requires(self):
        return [self.clone(Count), self.clone(Merge)]

    def outside_cause(self, stamp):
        return type(self).dead

    def make(self):
        type(self).dead = None
        return " ".join(self.text(task) for task in self.requires())


STAGES = (Read, Merge, Count, Final)
ALL = ["Read(a)", "Read(b)", "Merge", "Count", "Final"]


def prepare(path):
    (path / "inputs").mkdir(parents=True)
    (path / "inputs" / "a").write_text("ann")
    (path / "inputs" / "b").write_text("bob")
    Final.dead = None
    return path


def build(root, **parameters):
    """Run the graph; returns what ran, in the order of the graph, and checks that nothing is stale afterwards."""
    ran.clear()
    forget()
    final = Final(root=root, **parameters)
    assert luigi.build([final], local_scheduler=True, log_level="WARNING")
    assert final.stale_because() is None
    return sorted(ran, key=ALL.index)


def cause(root, cls=Final, **parameters):
    forget()
    return cls(root=root, **parameters).stale_because()
