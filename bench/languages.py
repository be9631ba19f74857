"""Pages in the languages of Latin script, to read beside others: which alphabets does a reader know?

    python bench/languages.py FOLDER [--pages 4] [--spoilt]
    python bench/peers.py FOLDER/* [--readers ocrzoo lines tesseract]

Draws the first article of the Universal Declaration of Human Rights as the United Nations have it in each language, on
white paper in an everyday font of another size on each page, a folder of labels for each language; if wanted, spoilt as
by a poor camera. No recognizer has learnt from these texts; those of this zoo have learnt from words of some of the
languages, and from these fonts.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from recipes.data import fonts

ARTICLES = {
    "croatian": """Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima. Ona su obdarena razumom i
        sviješću i trebaju jedna prema drugima postupati u duhu bratstva.""",
    "czech": """Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a
        mají spolu jednat v duchu bratrství.""",
    "danish": """Alle mennesker er født frie og lige i værdighed og rettigheder. De er udstyret med fornuft og
        samvittighed, og de bør handle mod hverandre i en broderskabets ånd.""",
    "dutch": """Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en
        geweten, en behoren zich jegens elkander in een geest van broederschap te gedragen.""",
    "english": """All human beings are born free and equal in dignity and rights. They are endowed with reason and
        conscience and should act towards one another in a spirit of brotherhood.""",
    "estonian": """Kõik inimesed sünnivad vabadena ja võrdsetena oma väärikuselt ja õigustelt. Neile on antud mõistus ja
        südametunnistus ja nende suhtumist üksteisesse peab kandma vendluse vaim.""",
    "finnish": """Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki
        ja omatunto, ja heidän on toimittava toisiaan kohtaan veljeyden hengessä.""",
    "french": """Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de
        conscience et doivent agir les uns envers les autres dans un esprit de fraternité.""",
    "german": """Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen
        begabt und sollen einander im Geiste der Brüderlichkeit begegnen.""",
    "hungarian": """Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és
        lelkiismerettel bírván, egymással szemben testvéri szellemben kell hogy viseltessenek.""",
    "icelandic": """Hver maður er borinn frjáls og jafn öðrum að virðingu og réttindum. Menn eru gæddir vitsmunum og
        samvizku, og ber þeim að breyta bróðurlega hverjum við annan.""",
    "italian": """Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di
        coscienza e devono agire gli uni verso gli altri in spirito di fratellanza.""",
    "latvian": """Visi cilvēki piedzimst brīvi un vienlīdzīgi savā pašcieņā un tiesībās. Viņi ir apveltīti ar saprātu un
        sirdsapziņu, un viņiem jāizturas citam pret citu brālības garā.""",
    "lithuanian": """Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas ir sąžinė ir jie
        turi elgtis vienas kito atžvilgiu kaip broliai.""",
    "norwegian": """Alle mennesker er født frie og med samme menneskeverd og menneskerettigheter. De er utstyrt med
        fornuft og samvittighet og bør handle mot hverandre i brorskapets ånd.""",
    "polish": """Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni
        rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.""",
    "portuguese": """Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de
        consciência, devem agir uns para com os outros em espírito de fraternidade.""",
    "romanian": """Toate ființele umane se nasc libere și egale în demnitate și în drepturi. Ele sunt înzestrate cu
        rațiune și conștiință și trebuie să se comporte unele față de altele în spiritul fraternității.""",
    "slovak": """Všetci ľudia sa rodia slobodní a sebe rovní, čo sa týka ich dôstojnosti a práv. Sú obdarení rozumom a
        majú navzájom jednať v bratskom duchu.""",
    "slovenian": """Vsi ljudje se rodijo svobodni in imajo enako dostojanstvo in enake pravice. Obdarjeni so z razumom
        in vestjo in bi morali ravnati drug z drugim kakor bratje.""",
    "spanish": """Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y
        conciencia, deben comportarse fraternalmente los unos con los otros.""",
    "swedish": """Alla människor är födda fria och lika i värde och rättigheter. De är utrustade med förnuft och
        samvete och bör handla gentemot varandra i en anda av broderskap.""",
}
SIZES = (15, 19, 24, 30)  # pixels of an em, one page after the other
LINE = 44  # characters at most


def page(text: str, size: int, rng: np.random.Generator) -> Image.Image:
    """The text in lines on white paper."""
    font = fonts.font(fonts.path_for(text, rng, common=1.0), size)
    lines = textwrap.wrap(text, LINE)
    wide = max(font.getlength(line) for line in lines)
    picture = Image.new("RGB", (round(wide) + 4 * size, round(1.5 * size * len(lines)) + 4 * size), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((2 * size, (2 + 1.5 * number) * size), line, (20, 20, 20), font)
    return picture


def spoilt(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A page a tenth smaller, out of focus, grey and darker towards its left, with noise and traces of JPEG."""
    pixels = cv2.resize(np.array(picture), None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    pixels = 235 * (cv2.GaussianBlur(pixels, (0, 0), 0.9) / 255) ** 0.8
    pixels = pixels * np.linspace(0.75, 1, pixels.shape[1])[:, None] + rng.normal(0, 9, pixels.shape)
    _, data = cv2.imencode(".jpg", pixels.clip(0, 255).astype("uint8"), [cv2.IMWRITE_JPEG_QUALITY, 45])
    return Image.fromarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=4, help="of each language; default: 4")
    parser.add_argument("--spoilt", action="store_true", help="as by a poor camera")
    args = parser.parse_args()
    for language, article in ARTICLES.items():
        text, rng = " ".join(article.split()), np.random.default_rng(0)
        images = args.folder / language / "images"
        images.mkdir(parents=True, exist_ok=True)
        labels = []
        for number in range(args.pages):
            picture = page(text, SIZES[number % len(SIZES)], rng)
            (spoilt(picture, np.random.default_rng(number)) if args.spoilt else picture).save(images / f"{number}.png")
            labels.append({"image": f"images/{number}.png", "split": "test", "page_text": text})
        lines = [json.dumps(label, ensure_ascii=False) for label in labels]
        (images.parent / "labels.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
