"""What synthetic documents say: words, numbers, dates, amounts, and names, drawn with a seeded generator.

Words come from the word lists under `/usr/share/dict` (Debian's wamerican, wbritish, wfrench, wngerman, …) and from the
dictionaries of spell checkers under `/usr/share/hunspell` (hunspell-lv, hunspell-ro, …), with their endings, where they
are installed; else from `words`, texts in twenty languages that were written for this; from the vocabulary of receipts
and letters below, and from syllables. No text of a data set is in here.
"""

from __future__ import annotations

import functools
import io
import itertools
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from spylls.hunspell.data.aff import Suffix
from spylls.hunspell.readers.aff import read_aff
from spylls.hunspell.readers.file_reader import FileReader

from zoo import charset

DICTIONARIES = Path("/usr/share/dict")
SPELLERS = Path("/usr/share/hunspell")
WRITTEN = Path(__file__).parent / "words"
LARGEST = 400_000  # words of a list that are kept, evenly spaced: all forms of a language are millions
STEMS = 80_000  # of a speller's dictionary that are kept
ENDED = 2 / 3  # of the words that may have an ending, those that get one
TRIES = 10  # endings of a word that are tried: most are for others, such as those that end in "s"


def _words(text: str) -> list[str]:
    return text.split()


BUSINESS = _words("""
account address agent amount approved article authorization balance bank bill billing branch building bus cafe card cash
cashier category center change charge check city client code color company contract copy cost country coupon court
credit currency customer daily date debit delivery department deposit description detail discount document due east
email enquiries euro exchange express fax fee final floor food free from general goods gross group gst hotel hour
identification including industrial information insurance interest inventory invoice issued item items jalan kitchen
lane limited list lot machine mail manager market member menu method minute mobile month national net next north note
number office online open operator order original outlet page paid paper parcel park payable payment pcs pen phone
plaza point policy price private product profit provider purchase qty quantity rate receipt received reference refund
registration remark rent report request restaurant retail return road room rounding sale sales school sdn bhd section
serial server service served ship shop signature size south special square statement station stock store street subtotal
summary supermarket supplier table takeaway tax taxable tel telephone terminal thank thanks ticket till time total
transaction transfer travel trading unit user valid value vat vehicle visit voucher warehouse week welcome west
wholesale year your you zip
""")

# Half of prose is these, and word lists know all words alike. One that ends in an apostrophe stands before another.
COMMON_OF = {
    "english": _words("""
a I an the of and to in is it he she we you they that this was were be been are as at on for with not but his her its
him them our my your had have has from or by one all so if no up out when which who will would there what more some may
"""),
    "french": _words("""
un une le la les l' l' d' d' de de des du et à au aux il elle on nous vous ils je j' tu qu' qui que où ne n' pas se s'
ce c' ces cet cette sa son ses mon ma mes leur dans en par pour sur avec sans sous est sont était être y ou mais plus si
"""),
    "german": _words("""
der die das ein eine und in zu den dem des ist nicht er sie es wir ich auf mit von für im am an als auch so sich war bei
"""),
    "spanish": _words("""
el la los las un una y a o de del en es no se su que por con lo al más como pero sus le ya si sin
"""),
    "italian": _words("""
il lo la i gli le un una di da in con su per tra fra e o che non si è sono del della dei nel al alla ha
"""),
}
COMMON = [word for words in COMMON_OF.values() for word in words]
# As usual in Portuguese, Dutch, Swedish, Danish, Polish, Czech, Hungarian, Romanian, Finnish, Croatian, Latvian,
# Lithuanian, Estonian, Slovak, Slovenian, Icelandic.
FURTHER = _words("""
não são está também já até às uma ção você à pelo mas os as com mais à é foi ser seu então só nós avó três mês país água
het een van niet zijn wordt naar geen hun deze één vóór heeft meer bij ook uit daar haar onze zoals geërfd ideeën
och att är för på inte från när också över får då så män år där även två många göra kan måste själv största hälften
og på er det ikke fra når også år være få må så både først større æble øl ø å blå læse får sådan før hvornår først
się nie jest że są już być może także również więc między pięć dzień rok tysięcy który które także część wszystkich
že není jako jsou být také však pouze několik při více své před třeba než město člověk její dvě další všechny
és nem hogy egy az mert már még ő új két több közös után között éves szükség törvény napján elnök készült időben
și în nu să că mai după către între fără această când până două trei ani față țară județ află școală înainte
ja on että ei oli myös vain sekä hän jo kun niin ovat yhtä päivä vuotta täytyy käyttö öljy äiti pöytä työ hyvä
što već će između također ako više može kuća ljudi čovjek još svoj žena vrijeme šest riječ sljedeći općina
""")
OFTEN = 0.3  # of the words of prose
RUNNING, TITLED, CLOSED = 0.45, 0.13, 0.08  # of running text: common words, capitals, marks behind a word
ABROAD = 0.3  # of these, in the further languages
SPELT = 0.35  # of the other words, from spellers' dictionaries: of languages without a list, most of them

BARE = 4  # times as often as with each of its marks a letter has none, in a word that gets some
UNITS = _words(
    "g g g kg kg ml ml cl l L L lb oz mg cm cm mm mm km m in ft pt kW kWh W V A Hz GHz GB MB kB TB h s ms min x pcs pc"
)

# Letters of `charset.MARKED` that Unicode builds on no other, by what they look like.
UNBUILT = {
    "a": "æ", "d": "đð", "l": "ł", "o": "øœ", "s": "ß", "p": "þ",
    "A": "Æ", "D": "ĐÐ", "L": "Ł", "O": "ØŒ", "P": "Þ",
}  # fmt: skip

LETTERS = frozenset(string.ascii_letters + charset.MARKED + charset.MARKED.upper() + "-'")

ONSETS = _words(
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p ph pl pr qu r s sc sh sl sp st str t th tr v w y z"
)
NUCLEI = _words("a e i o u ai au ea ee ie io oa oo ou y")
CODAS = ["", "", "", *_words("b ck ct d ft g l ll m mp n nd ng nt p r rd s ss st t x")]


@functools.cache
def dictionaries() -> tuple[tuple[str, ...], ...]:
    """The installed word lists, each in its own order; `BUSINESS` and our own texts where there is none."""
    paths = sorted(DICTIONARIES.glob("*")) if DICTIONARIES.is_dir() else []
    lists = [_lines(path) for path in paths if path.is_file() and not path.is_symlink() and "." not in path.name]
    return tuple(words for words in lists if len(words) > 100) or (tuple(BUSINESS), *_written())


def _written() -> tuple[tuple[str, ...], ...]:
    """The words of our own texts, those of a language in one, each once."""
    return tuple(map(_found, sorted(WRITTEN.glob("*.txt"))))


def _found(path: Path) -> tuple[str, ...]:
    words = re.findall(r"[^\W\d_]{2,23}", path.read_text("utf-8"))
    return tuple(dict.fromkeys(filter(LETTERS.issuperset, words)))


def _lines(path: Path) -> tuple[str, ...]:
    data = path.read_bytes()
    step = -(-data.count(b"\n") // LARGEST) or 1
    kept = b"".join(itertools.islice(io.BytesIO(data), 0, None, step))
    try:
        text = kept.decode("utf-8")
    except UnicodeDecodeError:
        text = kept.decode("latin-1")  # Debian's wswedish
    return tuple(word for word in text.split() if 1 < len(word) < 24)


class Speller(NamedTuple):
    """A language as a spell checker knows it.

    Attributes:
        stems: each with the names of its rules, after a slash.
        suffixes: the endings of each rule.
        named: rules' names as they are written, each by itself.
    """

    stems: tuple[str, ...]
    suffixes: Mapping[str, Sequence[Suffix]]
    named: Callable[[str], Iterable[str]]

    def word(self, rng: np.random.Generator) -> str:
        """One of the words, most of those that may have an ending with one."""
        stem, _, names = pick(rng, self.stems).partition("/")
        # Sorted, since names that stand for several are sets, whose order is another in each process.
        rules = sorted(set(self.named(names)) & self.suffixes.keys()) if rng.random() < ENDED else []
        for _ in range(TRIES if rules else 0):
            ending = pick(rng, self.suffixes[pick(rng, rules)])
            word = stem.removesuffix(ending.strip) + ending.add
            if ending.cond_regexp.search(stem) and _printed(word):
                return word
        return stem


@functools.cache
def spellers() -> tuple[Speller, ...]:
    """The installed spellers' dictionaries in Latin script, one of a language."""
    paths = sorted(SPELLERS.glob("*.dic")) if SPELLERS.is_dir() else []
    languages = {path.stem[:2]: path for path in paths if not path.is_symlink()}
    return tuple(speller for speller in map(_speller, languages.values()) if len(speller.stems) > 100)


def _speller(path: Path) -> Speller:
    rules = path.with_suffix(".aff")
    if not rules.is_file():
        return Speller((), {}, str)
    try:
        read, context = read_aff(FileReader(str(rules)))
        text = path.read_bytes().decode(context.encoding, "replace")
    except LookupError:  # such as microsoft-cp1251, of Bulgarian
        return Speller((), {}, str)
    lines = text.splitlines()[1:]
    entries = (line.split(maxsplit=1)[0] for line in lines[:: -(-len(lines) // STEMS) or 1] if line.strip())
    stems = tuple(entry for entry in entries if _printed(entry.partition("/")[0]))
    return Speller(stems, read.SFX, context.parse_flags)


def _printed(word: str) -> bool:
    return 1 < len(word) < 24 and LETTERS.issuperset(word)


@functools.cache
def variants() -> dict[str, str]:
    """The letters with marks of `charset.MARKED` by the letter that each is built on."""
    built: dict[str, str] = {}
    for letter in charset.MARKED + charset.MARKED.upper():
        base = charset.built_on(letter)
        built[base] = built.get(base, "") + letter
    return {base: letters for base, letters in built.items() if base not in letters} | {
        base: built.get(base, "") + letters for base, letters in UNBUILT.items()
    }


@functools.cache
def listed(language: str) -> tuple[str, ...]:
    """The words of one language: of its list where that is installed, else of our own texts.

    Raises:
        ValueError: there are neither.
    """
    for folder, name, read in ((DICTIONARIES, language, _lines), (WRITTEN, f"{language}.txt", _found)):
        if re.fullmatch(r"[\w-]+", language) and (folder / name).is_file():
            return read(folder / name)
    known = sorted({path.stem for path in [*WRITTEN.glob("*.txt"), *DICTIONARIES.glob("*")] if path.is_file()})
    raise ValueError(
        f"no list of {language!r} words is installed, as Debian's wfrench is; there are: {', '.join(known)}"
    )


def running(rng: np.random.Generator, language: str, longest: int) -> str:
    """Words of one language side by side, a text of `longest` characters at most, as a hand would write it: nearly half
    of them common ones, some with a capital or a mark.

    Raises:
        ValueError: as `listed`.
    """
    words, common = listed(language), COMMON_OF.get(language) or listed(language)
    text, wanted = "", int(rng.integers(min(4, longest), longest + 1))
    while len(text) < wanted:
        own = pick(rng, common) if rng.random() < RUNNING else min(pick(rng, words), pick(rng, words), key=len)
        own = own[:1].upper() + own[1:] if rng.random() < TITLED else own
        own += pick(rng, ",,.;:") if rng.random() < CLOSED and not own.endswith("'") else ""
        text += own if not text or text.endswith("'") else f" {own}"
    return cut(text, longest)


def cut(text: str, longest: int) -> str:
    """The words of a text that fit into so many characters; of one long word its beginning."""
    if len(text) > longest:
        text = text[: longest + 1].rpartition(" ")[0] or text[:longest]
    return text.strip(" '") or text


def marked(rng: np.random.Generator) -> str:
    """A word some of whose letters have got marks: so each is seen, of languages without a list, too.

    What has more letters that are built on it is marked more often: "i" with a stroke, a roof, a bar or two dots is
    what recognizers take for "i".
    """
    letters = ((letter, variants().get(letter, "")) for letter in plain_word(rng))
    return "".join(pick(rng, BARE * letter + built) for letter, built in letters)


def entry(rng: np.random.Generator) -> str:
    """A common word, or one of the installed lists and dictionaries, of two the shorter: print uses short ones more."""
    common = pick(rng, FURTHER if rng.random() < ABROAD else COMMON) if rng.random() < OFTEN else ""
    if common and not common.endswith("'"):
        return common
    if spellers() and rng.random() < SPELT:
        speller = pick(rng, spellers())
        return common + min(speller.word(rng), speller.word(rng), key=len)
    words = pick(rng, dictionaries())
    return common + min(pick(rng, words), pick(rng, words), key=len)


def pick(rng: np.random.Generator, options):
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def digits(rng: np.random.Generator, low: int, high: int) -> str:
    """From `low` to `high` random digits."""
    return "".join(map(str, rng.integers(0, 10, rng.integers(low, high + 1))))


def syllables(rng: np.random.Generator) -> str:
    """A pronounceable word of one to four syllables."""
    return "".join(pick(rng, ONSETS) + pick(rng, NUCLEI) + pick(rng, CODAS) for _ in range(rng.integers(1, 4)))


def amount(rng: np.random.Generator) -> str:
    """An amount of money: "12.50", "RM 3.00" without its space, "$1,204.99", "7,90€"."""
    whole = digits(rng, 1, 4).lstrip("0") or "0"
    if len(whole) > 3 and rng.random() < 0.6:
        whole = f"{whole[:-3]},{whole[-3:]}"
    value = f"{whole}.{digits(rng, 2, 2)}"
    if rng.random() < 0.12:
        value = value.replace(",", " ").replace(".", ",").replace(" ", ".")
    prefix, suffix = pick(rng, ["$", "£", "€", "RM", "-", "("]), pick(rng, ["€", "%", "-", ")", "SR", "T"])
    draw = rng.random()
    return prefix + value if draw < 0.2 else value + suffix if draw < 0.3 else value


def date(rng: np.random.Generator) -> str:
    """A calendar date in one of the usual orders, with digits or a short month."""
    day, month, year = rng.integers(1, 32), rng.integers(1, 13), rng.integers(1950, 2031)
    short = pick(rng, ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])
    middle = f"{month:02d}" if rng.random() < 0.7 else short.upper() if rng.random() < 0.4 else short
    mark = pick(rng, "//--.")
    parts = [f"{day:02d}", middle, str(year if rng.random() < 0.7 else f"{year % 100:02d}")]
    return mark.join(parts if rng.random() < 0.8 else parts[::-1])


def clock(rng: np.random.Generator) -> str:
    """A time of day: "09:41", "9:41:07PM"."""
    text = f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}"
    text += f":{rng.integers(0, 60):02d}" if rng.random() < 0.4 else ""
    return text + pick(rng, ["", "", "", "AM", "PM", "am", "pm"])


def code(rng: np.random.Generator) -> str:
    """Letters, digits and marks as in serial numbers: "A0-4471", "000523184-W"."""
    marks = [digits(rng, 1, 9), "".join(rng.choice(list(string.ascii_uppercase), rng.integers(1, 4)))]
    return pick(rng, ["", "", "-", "/", "#", ".", ":"]).join(rng.permutation(marks)) + pick(
        rng, ["", "", "", "-" + digits(rng, 1, 4)]
    )


def serial(rng: np.random.Generator) -> str:
    """Letters and digits in any order, as in postcodes, number plates and serial numbers: "K1A0B1", "7QX-0O41"."""
    signs = list("abcdef" + string.digits if rng.random() < 0.15 else string.ascii_uppercase + 2 * string.digits)
    groups = ["".join(rng.choice(signs, rng.integers(2, 7))) for _ in range(rng.integers(1, 4))]
    return pick(rng, ["", "-", "-", ".", "/", ":"]).join(groups)


def quantity(rng: np.random.Generator) -> str:
    """A number and its unit without a space: "250g", "1.5kg", "75cl", "2x", "120mm"."""
    number = digits(rng, 1, 3).lstrip("0") or "1"
    if rng.random() < 0.25:
        number += pick(rng, "..,") + digits(rng, 1, 2)
    return number + pick(rng, UNITS)


def name_in_code(rng: np.random.Generator) -> str:
    """What stands in programs, paths and addresses: "get_total()", "self.width", "rowCount;", "/etc/hosts", "[0]"."""
    draw, words = rng.random(), [plain_word(rng).lower() for _ in range(rng.integers(1, 3))]
    if draw < 0.3:
        text = "_".join(words)
    elif draw < 0.6:
        text = words[0] + "".join(word.capitalize() for word in words[1:])
    else:
        text = pick(rng, [".", ".", "/", "::", "->", "-"]).join(words)
    front = pick(rng, ["", "", "", "", "/", "self.", "$", "@", "--", "&", "!", "{", "'", "<"])
    given = f"={digits(rng, 1, 3)};"
    back = pick(rng, ["", "", "()", "(", "():", ";", "();", "[0]", "=", ",", ")", ">", "'", ".py", given])
    return front + text + back


def contact(rng: np.random.Generator) -> str:
    """A telephone number, an address of electronic mail, or a site."""
    name, domain = syllables(rng), syllables(rng) + pick(rng, [".com", ".org", ".net", ".fr", ".my", ".co.uk", ".de"])
    number = pick(rng, ["", "+", "0"]) + pick(rng, ["-", ".", " "]).join(
        digits(rng, 2, 4) for _ in range(rng.integers(2, 5))
    )
    return pick(
        rng,
        [number.replace(" ", ""), number.replace(" ", "-"), f"{name}@{domain}", f"www.{domain}", f"http://{domain}/"],
    )


def jumble(rng: np.random.Generator) -> str:
    """Any printable characters in any order: no language model helps to read them."""
    return "".join(rng.choice(list(charset.NAMED["english"] + "§¡¿«»•"), rng.integers(1, 10)))


def plain_word(rng: np.random.Generator) -> str:
    """A word in one of the ways that print has it: lower case, Capitalised, UPPER CASE."""
    draw = rng.random()
    word = entry(rng) if draw < 0.6 else pick(rng, BUSINESS) if draw < 0.85 else syllables(rng)
    case = rng.random()
    return word if case < 0.4 else word.upper() if case < 0.75 else word[:1].upper() + word[1:]


def marked_word(rng: np.random.Generator) -> str:
    """A word with the punctuation that clings to it."""
    word = plain_word(rng)
    front, back = (
        pick(rng, ["", "", "(", '"', "'", "*", "#", "-", "«", "¿", "•"]),
        pick(rng, [",", ".", ":", ";", "!", "?", ")", '"', "'s", "...", "*", "-", "»"]),
    )
    middle = pick(rng, ["", "", "", "-", "/", "&", "'", "."])
    return (
        front
        + (word + middle + plain_word(rng) if middle and len(word) < 8 else word)
        + (back if rng.random() < 0.8 else "")
    )


KINDS: tuple[tuple[float, Callable[[np.random.Generator], str]], ...] = (
    (0.40, plain_word),
    (0.08, marked),
    (0.16, marked_word),
    (0.10, amount),
    (0.08, lambda rng: digits(rng, 1, 8)),
    (0.05, date),
    (0.03, clock),
    (0.04, code),
    (0.04, serial),
    (0.03, quantity),
    (0.03, name_in_code),
    (0.03, contact),
    (0.04, jumble),
)
WEIGHTS = np.cumsum([weight for weight, _ in KINDS])


def word(rng: np.random.Generator) -> str:
    """One token as documents and signs have them, without white space."""
    index = min(int(np.searchsorted(WEIGHTS, rng.random() * WEIGHTS[-1], "right")), len(KINDS) - 1)
    return KINDS[index][1](rng).replace(" ", "")


def phrase(rng: np.random.Generator, low: int, high: int) -> list[str]:
    """From `low` to `high` words in one case, as a heading, an item or a sentence has them."""
    words = [pick(rng, BUSINESS) if rng.random() < 0.4 else entry(rng) for _ in range(rng.integers(low, high + 1))]
    case = rng.random()
    if case < 0.35:
        return [word.upper() for word in words]
    return [word[:1].upper() + word[1:] for word in words] if case < 0.6 else words
