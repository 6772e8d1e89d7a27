"""Every option of every command with the edges of its range: a new option needs a line here.

A value is followed by what must come of it: OK is status 0, REFUSED is status 2 (the command line means
nothing), WRONG is status 1 or 2, ANY is any of these. What the range of an option is stands in the help and
in ``charrnn.config``; here it stands once more, so that a slip in one of them is found.
"""

from __future__ import annotations

import dataclasses

OK, REFUSED, WRONG, ANY = {0}, {2}, {1, 2}, {0, 1, 2}


@dataclasses.dataclass(frozen=True)
class Edge:
    """One use of an option.

    Attributes:
        args: what stands on the command line, the option's name included.
        statuses: what the command may end with.
        drop: options of the usual command line to leave out.
        endless: the output has no end; it is cut off.
    """

    args: tuple[str, ...]
    statuses: set[int]
    drop: tuple[str, ...] = ()
    endless: bool = False


@dataclasses.dataclass(frozen=True)
class Values:
    """An option's values by what must come of them.

    Attributes:
        ok, refused, wrong, any: the values.
        endless: values that write until nobody reads any more.
        drop: options of the usual command line that contradict this one.
        beside: what must stand on the command line with it.
    """

    ok: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    endless: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def edges(self, name: str) -> list[Edge]:
        """The option with each of its values; an argument, whose name has no dash, is its value alone."""
        prefix = (name,) if name.startswith("-") else ()
        kinds = ((self.ok, OK), (self.refused, REFUSED), (self.wrong, WRONG), (self.any, ANY))
        drop = (*self.drop, name)
        found = [
            Edge((*prefix, value, *self.beside), statuses, drop)
            for values, statuses in kinds
            for value in values
        ]
        found += [Edge((*prefix, value, *self.beside), WRONG, drop, endless=True) for value in self.endless]
        return found


@dataclasses.dataclass(frozen=True)
class Flag:
    """An option without a value, and what must come of it."""

    statuses: frozenset[int] = frozenset(OK)
    beside: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    def edges(self, name: str) -> list[Edge]:
        """The flag alone, twice, and with a value that it does not take."""
        return [
            Edge((name, *self.beside), set(self.statuses), self.drop),
            Edge((name, name, *self.beside), set(self.statuses), self.drop),
            Edge((f"{name}=1",), REFUSED),
        ]


NO_NUMBER = (
    "", " ", "x", "0x10", "1e", "--", "\N{ROMAN NUMERAL FIVE}", "1,5",
    "1_0", "\N{ARABIC-INDIC DIGIT ONE}", "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}",
)  # fmt: skip
NO_INTEGER = (*NO_NUMBER, "1.5", "1e3", "nan", "inf")
# For every option that takes a value: what an error message must not repeat as it is.
HOSTILE = ("\x1b[31mred\r\n\u202e", "9" * 5000, "a" * 5000, "a/" * 2500)
HUGE = (str(2**31), str(2**63 - 1), str(2**63), "1" + "0" * 30)
NO_REAL = (*NO_NUMBER, "nan", "-nan", "-1", "-inf", "-1e-300")


def whole(least: int, most: int | None = None, *, huge: bool = True, **more: tuple[str, ...]) -> Values:
    """A whole number from ``least`` to ``most``; ``huge`` also tries what no machine has."""
    over = () if most is None else (str(most + 1), *(value for value in HUGE if int(value) > most))
    top = () if most is None else (str(most),)
    return Values(
        ok=(str(least), f"+{least}", *more.pop("ok", ())),
        refused=(str(least - 1), str(-(10**30)), *over, *NO_INTEGER, *more.pop("refused", ())),
        any=(*top, *(HUGE if huge and most is None else ()), *more.pop("any", ())),
        **more,
    )


def choice(*names: str, some: tuple[str, ...] = (), **more: tuple[str, ...]) -> Values:
    """One of several words; those of ``some`` may be impossible on this machine."""
    return Values(ok=names, any=some, refused=("", "x", names[0].upper() + "x", "0"), **more)


STRANGE = (
    "", "missing", "empty", "t.txt/x", "m.safetensors/x", "a" * 300, "/dev/full/x",
    "/proc/self/mem", "\udcff", "binary", "-x", "/dev/null",
)  # fmt: skip
ODD = "\udcff\udcfe.txt"  # a text whose name is no UTF-8
SIZES = ("--hidden-size", "--num-layers", "--embedding-size")
NETWORK = (*SIZES, "--steps", "--threads", "--batch-size", "--seq-length", "--seed")

TRAIN: dict[str, Values | Flag] = {
    "corpus": Values(
        ok=("t.txt", "./t.txt", ODD, "-", "folder", "compressed.gz", "."),
        refused=("--",),
        wrong=(*STRANGE, "m.safetensors", "zeros", "cut.gz", "/dev/zero"),
    ),
    "--output-dir": Values(
        ok=("new", "new/deep/er", "\N{SNOWMAN}", "\udcff", "a b", "\x1b[31m", "-x"),
        wrong=(
            "",
            "empty",
            "t.txt",
            "t.txt/x",
            "/proc/x",
            "/dev/null",
            "/dev/null/x",
            "a" * 300,
            "old",
            "folder",
            ".",
        ),
    ),
    "--resume": Flag(frozenset({1, 2})),
    "--force": Flag(),
    "--init-from": Values(
        ok=("m.safetensors",),
        wrong=(*STRANGE, "t.txt", "folder", "new"),
        drop=SIZES,
    ),
    "--time": Values(
        ok=("1s", "0.5", "0.1s"),
        refused=("0", "-1", "1y", "1s1", "9" * 400, "s", "1,5m", "1_0s", "1e3", "nan", "inf", *NO_NUMBER),
        any=("0.0000001", "0." + "0" * 330 + "1"),
        drop=("--steps",),
    ),
    "--epochs": Values(
        ok=("0.01", "0.1"),
        refused=("0", "inf", *NO_REAL),
        any=("1e-320", "1e-9"),
        drop=("--steps",),
    ),
    "--steps": whole(1, huge=False),
    "--size": choice("auto", some=("tiny", "small", "medium", "large", "512"), drop=SIZES),
    "--cell": choice("lstm", "gru", "rnn", "relu", some=("ngram",)),
    "--order": whole(1, 8, huge=False, beside=("--cell", "ngram"), drop=NETWORK),
    "--num-layers": whole(1, 64),
    "--hidden-size": whole(1, 65536),
    "--embedding-size": whole(1, 65536),
    "--output": choice("top", "all"),
    "--dropout": Values(ok=("0", "0.999999", "-0.0"), refused=("1", "1.1", "inf", *NO_REAL), any=("1e-320",)),
    "--lr": Values(ok=("1e-30", "1"), refused=("0", "inf", *NO_REAL), any=("1e-320", "1e30", "1e308")),
    "--matrix-lr": Values(ok=("1e-30", "1"), refused=("0", "inf", *NO_REAL), any=("1e-320", "1e30", "1e308")),
    "--optimizer": choice("muon", "adamw"),
    "--batch-size": whole(1),
    "--seq-length": whole(2),
    "--clip": Values(ok=("1e-30", "1"), refused=("0", "inf", *NO_REAL), any=("1e-320", "1e308")),
    "--weight-decay": Values(ok=("0", "1"), refused=NO_REAL, any=("1e-320", "1e308", "inf")),
    "--warmup": Values(ok=("0", "0.999"), refused=("1", "inf", *NO_REAL), any=("1e-320",)),
    "--patience": whole(0),
    "--seed": whole(0, 2**63 - 1),
    "--val-fraction": Values(ok=("0", "0.5"), refused=("1", "inf", *NO_REAL), any=("1e-320", "0.9999999")),
    "--tokenizer": choice("char", "byte"),
    "--min-count": whole(1),
    "--lines": Flag(),
    "--column": Values(any=("1", "a", "\N{SNOWMAN}"), wrong=("0", "-1", *NO_INTEGER), beside=("--lines",)),
    "--pairs": Flag(frozenset(WRONG)),
    "--val": Values(
        ok=("t.txt", ODD, "folder"), wrong=(*STRANGE, "-", "m.safetensors", "zeros"), drop=("--val-fraction",)
    ),
    "--with-ngram": Flag(),
    "--without-ngram": Flag(),
    "--keep-every": Values(
        ok=("1s", "0.5", "1d"), refused=("0", "-1", "nan", "inf", "1_0s", *NO_NUMBER), any=("9" * 400,)
    ),
    "--encoding": Values(
        ok=("utf-8", "latin-1", "UTF8", "cp1252"),
        refused=("", "x", "base64", "hex", "zlib", "rot13", "undefined", "a" * 300),
        any=(
            "utf-16",
            "utf-7",
            "idna",
            "punycode",
            "raw_unicode_escape",
            "unicode_escape",
            "cp037",
            "utf-32",
        ),
    ),
    "--newlines": choice("keep", "unix"),
    "--device": choice("auto", "cpu", some=("cuda", "mps")),
    "--precision": choice("auto", "fp32", some=("bf16",)),
    "--threads": Values(ok=("1", "2"), refused=("0", "-1", *NO_INTEGER), any=("16", *HUGE)),
    "--replicas": whole(1, 4096, ok=("2", "3")),
    "--eval-every": whole(1),
    "--save-every": Values(
        ok=("1s", "0.5", "1d"), refused=("0", "-1", "nan", "inf", "1_0s", *NO_NUMBER), any=("9" * 400,)
    ),
    "--sample-every": Values(
        ok=("1s", "0.5", "1d"), refused=("0", "-1", "nan", "inf", "1_0s", *NO_NUMBER), any=("9" * 400,)
    ),
    "--tensorboard": Flag(frozenset({0, 1})),
    "--quiet": Flag(),
}

SAMPLE: dict[str, Values | Flag] = {
    "--model": Values(
        ok=("m.safetensors", "./m.safetensors", "old", "old\udcff"),
        wrong=(*(name for name in STRANGE if name), "t.txt", "folder", "zeros", "cut.gz", "/dev/zero", "-"),
        any=("",),
    ),
    "--mix": Values(
        ok=("1,1", "0.7,0.3", "1e308,1e-308", " 1 , 2 "),
        refused=(
            *("1", "1,2,3", "0,1", "-1,1", "nan,1", "inf,1", ",", "1;1", "1_0,1"),
            *(value for value in NO_NUMBER if value != "1,5"),  # which are two weights
        ),
        any=("1e-320,1", "9" * 400 + ",1"),
        beside=("-m", "m.safetensors"),
    ),
    "--prompt": Values(
        ok=("", "the", "-", "x" * 2000), any=("\N{SNOWMAN}", "\x1b[31m", "\udcff", "--", "-x")
    ),
    "--file": Values(
        ok=("t.txt", ODD, "-", "/dev/null"),
        wrong=(*(n for n in STRANGE if n not in ("/dev/null", "empty")), "folder", "zeros", "/dev/zero"),
    ),
    "--escape": Flag(beside=("-p", r"the\x20fox\n\u0020")),
    "--skip-unknown": Flag(beside=("-p", "\N{SNOWMAN}")),
    "--length": Values(ok=("0", "1", "+1"), refused=("-2", *NO_INTEGER), endless=("-1", *HUGE)),
    "--temperature": Values(
        ok=("0", "-0.0", "1e-30", "1e308", "1"), refused=("inf", *NO_REAL), any=("1e-320", "5e-324", "1e-310")
    ),
    "--top-k": whole(0),
    "--top-p": Values(
        ok=("1e-300", "1"), refused=("0", "1.0000001", "inf", *NO_REAL), any=("1e-320", "5e-324")
    ),
    "--min-p": Values(
        ok=("0", "1", "1e-300"), refused=("1.0000001", "inf", *NO_REAL), any=("1e-320", "5e-324")
    ),
    "--repetition-penalty": Values(
        ok=("1", "2"), refused=("0.999999", "0", "inf", *NO_REAL), any=("1e38", "1e39", "1e308")
    ),
    "--repetition-window": whole(1),
    "--ban": Values(
        ok=("", "a", "\N{SNOWMAN}", "\N{PILE OF POO}", "aaaa", "a" * 5000),
        any=("\udcff", "\x1b[31m"),
        refused=("\n abcdefghijklmnopqrstuvwxyz",),
    ),
    "--no-repeat": Values(ok=("2", "40"), refused=("1", "0", "-1", *NO_INTEGER), any=HUGE),
    "--bias": Values(
        ok=("a=1", "a=-1e30", "==2", "a=0"),
        any=("\N{SNOWMAN}=1", "\udcff=1", "a=1e308"),
        refused=("", "a", "=1", "a=nan", "a=inf", *(f"a={value}" for value in NO_NUMBER)),
    ),
    "--until": Values(ok=("a", "\N{SNOWMAN}", "a" * 5000), refused=("",), any=("\udcff",)),
    "--each": Values(ok=("t.txt", ODD, "-"), wrong=("", "missing", "folder", "a" * 300)),
    "--beam": Values(ok=("1", "3"), refused=("0", "-1", "1001", *NO_INTEGER), beside=("--each", "t.txt")),
    "--best-of": whole(1, huge=False),
    "--seed": whole(0, 2**63 - 1),
    "--stop": Values(ok=("a", "\N{SNOWMAN}", "a" * 5000), refused=("",), any=("\udcff",)),
    "--num-samples": whole(1, huge=False, endless=HUGE),
    "--separator": Values(
        ok=("", "\n", "\N{SNOWMAN}"), any=("\udcff", "\x1b[31m"), beside=("--num-samples", "2")
    ),
    "--lines": whole(0, huge=False, ok=("3",), endless=HUGE),
    "--distinct": Flag(),
    "--novel": Flag(beside=("--against", "t.txt")),
    "--novel-span": Values(
        ok=("2", "3"), refused=("1", "0", "-1", *NO_INTEGER), any=HUGE, beside=("--against", "t.txt")
    ),
    "--against": Values(
        ok=("t.txt", ODD, "folder"), wrong=(*STRANGE, "/dev/zero", "m.safetensors"), beside=("--novel",)
    ),
    "--copied": Flag(beside=("--against", "t.txt")),
    "--display-prompt": Flag(),
    "--no-display-prompt": Flag(),
    "--json": Flag(),
    "--logprobs": Values(ok=("0", "1"), refused=("-1", *NO_INTEGER), any=HUGE, beside=("--json",)),
    "--color": choice("auto", "always", "never"),
    "--interactive": Flag(frozenset(ANY)),
    "--device": choice("cpu", some=("auto", "cuda", "mps")),
    "--quiet": Flag(),
}

DYNAMIC = ("--dynamic", "--train", "short.txt", "short.txt")  # it takes its time
EVALUATE: dict[str, Values | Flag] = {
    "text": Values(
        ok=("t.txt", ODD, "-", "folder", "compressed.gz", "."),
        wrong=(*STRANGE, "m.safetensors", "zeros", "cut.gz", "/dev/zero"),
    ),
    "--model": SAMPLE["--model"],
    "--mix": SAMPLE["--mix"],
    "--json": Flag(),
    "--per-line": Flag(),
    "--heatmap": Flag(),
    "--html": Values(
        ok=("page.html", "\N{SNOWMAN}.html", "\udcff.html", "-x"),
        wrong=("", "m.safetensors", "/dev/full/x", "a" * 300, "missing/x.html", "folder", "."),
    ),
    "--force": Flag(beside=("--html", "page.html")),
    "--baselines": Flag(beside=("--train", "t.txt")),
    "--dynamic": Flag(beside=DYNAMIC[1:], drop=("text",)),
    "--train": Values(
        ok=("t.txt", ODD, "folder"), wrong=(*STRANGE, "/dev/zero", "m.safetensors"), beside=("--baselines",)
    ),
    "--reset": Values(
        ok=("auto", "none", "lines", "1", "256"), refused=("0", "-1", *NO_INTEGER), any=HUGE
    ),
    "--newlines": choice("keep", "unix"),
    "--precision": choice("fp32", some=("bf16",)),
    "--streams": whole(1),
    "--device": choice("auto", "cpu", some=("cuda", "mps")),
    "--dynamic-lr": Values(
        ok=("1e-30", "1"),
        refused=("0", "inf", *NO_REAL),
        any=("1e-320", "1e308"),
        beside=DYNAMIC,
        drop=("text",),
    ),
    "--dynamic-decay": Values(
        ok=("0", "0.999"),
        refused=("1", "inf", *NO_REAL),
        any=("1e-320",),
        beside=DYNAMIC,
        drop=("text",),
    ),
    "--dynamic-segment": whole(1, beside=DYNAMIC, drop=("text",)),
    "--encoding": TRAIN["--encoding"],
    "--color": choice("auto", "always", "never"),
    "--quiet": Flag(),
}  # fmt: skip

INSPECT: dict[str, Values | Flag] = {
    "text": EVALUATE["text"],
    "--model": SAMPLE["--model"],
    "--unit": Values(
        ok=("0:0", "0:1:hidden"),
        wrong=("", ":", "0", "0:", "-1:0", "0:-1", "9:0", "0:99999", "0:0:none", "nan:0", "\N{SNOWMAN}"),
    ),
    "--feature": Values(any=("space", "vowel"), wrong=("", "none", "\N{SNOWMAN}", "a" * 5000)),
    "--gradients": Flag(frozenset(ANY)),
    "--memory": Flag(frozenset(ANY)),
    "--html": EVALUATE["--html"],
    "--force": Flag(beside=("--html", "page.html")),
    "--json": Flag(),
    "--length": whole(1),
    "--encoding": TRAIN["--encoding"],
    "--color": choice("auto", "always", "never"),
    "--quiet": Flag(),
}

EXPORT: dict[str, Values | Flag] = {
    "page": Values(
        ok=("new.html", "\N{SNOWMAN}.html", "\udcff.html"),
        wrong=("", "m.safetensors", "/dev/full/x", "a" * 300, "missing/x.html", "folder", "."),
    ),
    "--model": SAMPLE["--model"],
    "--int8": Flag(),
    "--float32": Flag(),
    "--without-ngram": Flag(),
    "--title": Values(ok=("", "a", "</script>", "\N{SNOWMAN}", "a" * 5000), any=("\udcff", "\x1b[31m")),
    "--force": Flag(),
    "--quiet": Flag(),
}

EDGES: dict[str, dict[str, Values | Flag]] = {
    "train": TRAIN,
    "sample": SAMPLE,
    "evaluate": EVALUATE,
    "inspect": INSPECT,
    "export": EXPORT,
    "list": {"--json": Flag(), "--quiet": Flag()},
}

# The usual command line of each command, by option, that an edge replaces a part of.
USUAL: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "corpus": ("t.txt",),
        "--output-dir": ("-o", "new"),
        "--steps": ("--steps", "1"),
        "--hidden-size": ("--hidden-size", "4"),
        "--num-layers": ("--num-layers", "1"),
        "--embedding-size": ("--embedding-size", "3"),
        "--threads": ("--threads", "1"),
        "--batch-size": ("--batch-size", "2"),
        "--seq-length": ("--seq-length", "8"),
        "--seed": ("--seed", "1"),
        "--quiet": ("-q",),
    },
    "sample": {
        "--model": ("-m", "m.safetensors"),
        "--length": ("-n", "20"),
        "--seed": ("--seed", "1"),
        "--quiet": ("-q",),
    },
    "evaluate": {"text": ("t.txt",), "--model": ("-m", "m.safetensors"), "--quiet": ("-q",)},
    "inspect": {
        "text": ("t.txt",),
        "--model": ("-m", "m.safetensors"),
        "--length": ("-n", "50"),
        "--quiet": ("-q",),
    },
    "export": {"page": ("page.html",), "--model": ("-m", "m.safetensors"), "--quiet": ("-q",)},
    "list": {"--quiet": ("-q",)},
}
