"""The words of the sample's world, English beside Chinese."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = "零一二三四五六七八九"
SMALL_NUMBERS = tuple(
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ]
)


@dataclass(frozen=True, slots=True)
class Term:
    """A word or name in both languages.

    Attributes:
        en: English, singular, without an article.
        zh: Chinese.
        plural: English plural.
        own: English possessive.
        a: English with its indefinite article.
        measure: Chinese measure word, for things that are counted.
    """

    en: str
    zh: str
    plural: str
    own: str
    a: str
    measure: str


def term(text: str) -> Term:
    """A term from `singular[/plural]|Chinese[|measure word]`."""
    english, chinese, *rest = text.split("|")
    singular, _, plural = english.partition("/")
    article = "an" if singular[0] in "aeiouAEIO" else "a"
    measure = rest[0] if rest else "个"
    return Term(
        en=singular,
        zh=chinese,
        plural=plural or f"{singular}s",
        own=f"{singular}'" if singular.endswith("s") else f"{singular}'s",
        a=f"{article} {singular}",
        measure=measure,
    )


def terms(text: str) -> tuple[Term, ...]:
    """Terms of a comma-separated list."""
    return tuple(term(part.strip()) for part in text.split(",") if part.strip())


def number(value: int) -> Term:
    """A number as it is read: words up to twenty in English, up to 99 in Chinese."""
    english = SMALL_NUMBERS[value] if value < len(SMALL_NUMBERS) else f"{value:,}"
    chinese = _chinese_number(value) if value < 100 else str(value)
    return Term(english, chinese, english, english, english, "")


def year(value: int) -> Term:
    """A year: digits without a separator in both languages."""
    text = str(value)
    return Term(text, text, text, text, text, "")


def _chinese_number(value: int) -> str:
    tens, ones = divmod(value, 10)
    if not tens:
        return DIGITS[ones]
    return (DIGITS[tens] if tens > 1 else "") + "十" + (DIGITS[ones] if ones else "")


HE = Term("he", "他", "they", "his", "he", "")
SHE = Term("she", "她", "they", "her", "she", "")
IT = Term("it", "它", "they", "its", "it", "")
FINDER = term("the finder|捡到的人")
OWNER = term("the owner|失主")

# Few names, each seen often: to copy a rare one from the line above is the last thing that a small
# model learns.
SURNAMES = terms("Li|李, Wang|王, Zhang|张, Chen|陈, Liu|刘, Zhao|赵, Lin|林, Song|宋")
WOMEN = terms("Mei|梅, Lan|兰, Qing|青, Yue|月, Xia|霞, Ling|玲")
MEN = terms("Wei|伟, Ming|明, Feng|峰, Tao|涛, Long|龙, Hai|海")
TOWN_FIRST = terms(
    "White|白, Red|红, Green|绿, Old|古, East|东, South|南, West|西, North|北, Long|长, Stone|石, "
    "Willow|柳, Pine|松, Plum|梅, Gold|金, Silver|银, Jade|玉, Dragon|龙, Tiger|虎, Cloud|云, "
    "Rain|雨, Moon|月, Star|星, Fish|鱼, Crane|鹤, Bamboo|竹, Tea|茶, Salt|盐, Iron|铁, Peach|桃, "
    "Orchid|兰, Horse|马, Sheep|羊, Copper|铜, Sun|阳, Wind|风, Frost|霜"
)
TOWN_SECOND = terms(
    "Bridge|桥, Gate|门, Hill|山, Lake|湖, Spring|泉, Well|井, Ford|渡, Field|田, Bay|湾, "
    "Harbour|港, Valley|谷, Tower|塔, Cliff|崖, Island|岛, Garden|园, Forest|林, Rock|岩, "
    "Market|集, Mill|坊, Wall|城"
)
SETTLEMENTS = terms("town|小镇, village|村庄, city/cities|城市, market town|集镇, port|港口")
REGIONS = terms(
    "the northern plain|北方平原, the southern hills|南方丘陵, the eastern lowlands|东部低地, "
    "the western highlands|西部高原, the central valley|中部谷地, the lake country|湖区, "
    "the great forest|大森林"
)
RIVER_NAMES = terms(
    "Clear|清, Black|黑, Swift|急, Quiet|静, Yellow|黄, Deep|深, Winding|弯, Cold|寒, Broad|宽, "
    "Blue|蓝, Bright|明, Snow|雪, Sand|沙, Twin|双"
)
MOUNTAIN_NAMES = terms(
    "Eagle|鹰, Thunder|雷, Snow|雪, Wolf|狼, Fire|火, Temple|寺, Cloud|云, Elephant|象, Cold|冷, "
    "Sky|天, Wild|野, Bell|钟"
)
SEAS = terms("the North Sea|北海, the South Sea|南海, the East Sea|东海, the Great Lake|大湖")
DIRECTIONS = terms(
    "east|东, northeast|东北, north|北, northwest|西北, west|西, southwest|西南, south|南, "
    "southeast|东南"
)
MONTHS = terms(
    "January|一月, February|二月, March|三月, April|四月, May|五月, June|六月, July|七月, "
    "August|八月, September|九月, October|十月, November|十一月, December|十二月"
)
WEEKDAYS = terms(
    "Monday|星期一, Tuesday|星期二, Wednesday|星期三, Thursday|星期四, Friday|星期五, "
    "Saturday|星期六, Sunday|星期日"
)
SEASONS = terms("spring|春天, summer|夏天, autumn|秋天, winter|冬天")
FESTIVALS = terms(
    "lantern festival|灯会, boat race|划船比赛, harvest feast|丰收宴, horse fair|赛马会, "
    "flower show|花展, singing contest|歌唱比赛, kite day|风筝节, book fair|书市"
)
CHARACTERS = terms(
    "kind|善良, patient|耐心, clever|聪明, brave|勇敢, honest|诚实, quiet|安静, cheerful|开朗, "
    "careful|细心, generous|大方, strict|严格, modest|谦虚, busy|忙碌, curious|好奇, strong|强壮"
)
HOBBIES = terms(
    "singing|唱歌, fishing|钓鱼, reading|读书, painting|画画, dancing|跳舞, swimming|游泳, "
    "climbing|爬山, chess|下棋, cooking|做饭, running|跑步, telling stories|讲故事, "
    "playing the flute|吹笛子, writing letters|写信, growing flowers|养花"
)
# trade | product | material | tool
TRADES = tuple(
    (term(a), term(b), term(c), term(d))
    for a, b, c, d in (
        ("carpenter|木匠", "table|桌子|张", "wood|木头", "saw|锯子|把"),
        ("blacksmith|铁匠", "knife/knives|刀|把", "iron|铁", "hammer|锤子|把"),
        ("potter|陶工", "bowl|碗|只", "clay|陶土", "wheel|转盘"),
        ("weaver|织工", "blanket|毯子|条", "cotton|棉花", "loom|织机|台"),
        ("tailor|裁缝", "coat|外衣|件", "cloth|布料", "needle|针|根"),
        ("baker|面包师", "loaf of bread/loaves of bread|面包", "flour|面粉", "oven|烤炉"),
        ("farmer|农民", "sack of rice/sacks of rice|大米|袋", "seed|种子", "plough|犁|把"),
        (
            "fisherman|渔夫",
            "basket of fish/baskets of fish|鲜鱼|筐",
            "river water|河水",
            "net|网|张",
        ),
        ("shoemaker|鞋匠", "pair of shoes/pairs of shoes|鞋子|双", "leather|皮革", "awl|锥子|把"),
        ("goldsmith|金匠", "ring|戒指|枚", "gold|黄金", "small hammer|小锤|把"),
        ("glassmaker|玻璃匠", "bottle|瓶子", "sand|沙子", "iron pipe|铁管|根"),
        (
            "beekeeper|养蜂人",
            "jar of honey/jars of honey|蜂蜜|罐",
            "flower nectar|花蜜",
            "smoke pot|烟罐",
        ),
        ("papermaker|造纸匠", "sheet of paper/sheets of paper|纸|张", "bark|树皮", "screen|竹帘"),
        ("umbrella maker|伞匠", "umbrella|雨伞|把", "oiled paper|油纸", "bamboo knife|竹刀|把"),
        ("drum maker|鼓匠", "drum|鼓|面", "ox hide|牛皮", "chisel|凿子|把"),
        ("candle maker|蜡烛匠", "candle|蜡烛|支", "wax|蜡", "mould|模子"),
        ("clockmaker|钟表匠", "clock|钟|座", "brass|黄铜", "small screwdriver|小起子|把"),
        ("mason|石匠", "millstone|石磨|盘", "stone|石头", "pickaxe|镐|把"),
        ("basket maker|篾匠", "basket|篮子", "bamboo|竹子", "sharp blade|利刃|把"),
        (
            "tea grower|茶农",
            "bag of tea/bags of tea|茶叶|包",
            "tea leaf/tea leaves|鲜叶",
            "flat pan|平锅|口",
        ),
        ("brush maker|笔匠", "brush/brushes|毛笔|支", "goat hair|羊毛", "comb|梳子|把"),
        ("boat builder|船匠", "boat|小船|条", "pine wood|松木", "axe|斧头|把"),
        ("printer|印刷匠", "book|书|本", "paper and ink|纸和墨", "press/presses|印刷机|台"),
        ("dyer|染匠", "scarf/scarves|围巾|条", "silk|丝绸", "deep tub|染缸|口"),
        ("saddler|鞍匠", "saddle|马鞍", "thick leather|厚皮", "long needle|长针|根"),
        ("lamp maker|灯匠", "lamp|灯|盏", "copper|铜", "file|锉刀|把"),
    )
)
# animal | class | habitat | food
ANIMALS = tuple(
    (term(a), term(b), term(c), term(d))
    for a, b, c, d in (
        ("wolf/wolves|狼|只", "mammal|哺乳动物", "mountain forest|山林", "deer|鹿"),
        ("fox/foxes|狐狸|只", "mammal|哺乳动物", "hill|山坡", "mouse/mice|老鼠"),
        ("tiger|老虎|只", "mammal|哺乳动物", "deep forest|密林", "wild pig|野猪"),
        ("bear|熊|头", "mammal|哺乳动物", "mountain cave|山洞", "fruit and honey|果子和蜂蜜"),
        ("rabbit|兔子|只", "mammal|哺乳动物", "meadow|草地", "grass|青草"),
        ("horse|马|匹", "mammal|哺乳动物", "open plain|平原", "hay|干草"),
        ("ox/oxen|牛|头", "mammal|哺乳动物", "farm|农场", "grass and straw|青草和稻草"),
        ("goat|山羊|只", "mammal|哺乳动物", "rocky slope|石坡", "leaf/leaves|树叶"),
        ("cat|猫|只", "mammal|哺乳动物", "house|屋里", "small fish|小鱼"),
        ("dog|狗|条", "mammal|哺乳动物", "yard|院子", "meat and bones|肉和骨头"),
        ("monkey|猴子|只", "mammal|哺乳动物", "warm forest|热带树林", "peach/peaches|桃子"),
        ("elephant|大象|头", "mammal|哺乳动物", "wide grassland|大草原", "bark and grass|树皮和草"),
        ("panda|熊猫|只", "mammal|哺乳动物", "bamboo grove|竹林", "bamboo|竹子"),
        ("otter|水獭|只", "mammal|哺乳动物", "clean stream|清溪", "fish|鱼"),
        ("bat|蝙蝠|只", "mammal|哺乳动物", "dark cave|黑洞", "insect|昆虫"),
        ("eagle|鹰|只", "bird|鸟", "high cliff|高崖", "rabbit|兔子"),
        ("crane|鹤|只", "bird|鸟", "wet marsh|沼泽", "frog|青蛙"),
        ("swallow|燕子|只", "bird|鸟", "roof|屋檐", "fly/flies|飞虫"),
        ("duck|鸭子|只", "bird|鸟", "pond|池塘", "water plant|水草"),
        ("goose/geese|鹅|只", "bird|鸟", "lake shore|湖岸", "grass seed|草籽"),
        ("hen|母鸡|只", "bird|鸟", "farm yard|农家院子", "corn|玉米"),
        ("owl|猫头鹰|只", "bird|鸟", "hollow tree|树洞", "mouse/mice|老鼠"),
        ("sparrow|麻雀|只", "bird|鸟", "hedge|篱笆", "seed|种子"),
        ("carp|鲤鱼|条", "fish|鱼类", "slow river|缓流", "worm|虫子"),
        ("salmon|鲑鱼|条", "fish|鱼类", "cold river|寒冷的河", "shrimp|虾"),
        ("eel|鳗鱼|条", "fish|鱼类", "river mud|河泥", "snail|螺"),
        ("shark|鲨鱼|条", "fish|鱼类", "open sea|大海", "smaller fish|小一些的鱼"),
        ("frog|青蛙|只", "amphibian|两栖动物", "rice field|稻田", "mosquito/mosquitoes|蚊子"),
        ("snake|蛇|条", "reptile|爬行动物", "warm stone|暖石下", "frog and egg|青蛙和蛋"),
        ("turtle|乌龟|只", "reptile|爬行动物", "river bank|河边", "leaf and worm|叶子和虫子"),
        ("bee|蜜蜂|只", "insect|昆虫", "hive|蜂巢", "nectar|花蜜"),
        ("butterfly/butterflies|蝴蝶|只", "insect|昆虫", "flower garden|花园", "nectar|花蜜"),
        ("cricket|蟋蟀|只", "insect|昆虫", "tall grass|高草", "young leaf/young leaves|嫩叶"),
        (
            "silkworm|蚕|条",
            "insect|昆虫",
            "mulberry tree|桑树",
            "mulberry leaf/mulberry leaves|桑叶",
        ),
    )
)
COLOURS = terms(
    "white|白色, black|黑色, red|红色, yellow|黄色, green|绿色, blue|蓝色, brown|棕色, grey|灰色, "
    "purple|紫色, golden|金色"
)
# dish | three ingredients
DISHES = tuple(
    (term(a), terms(b))
    for a, b in (
        ("noodle soup|汤面|碗", "noodles|面条, beef|牛肉, green onion|葱"),
        ("fried rice|炒饭|盘", "rice|米饭, egg|鸡蛋, pea|豌豆"),
        ("steamed fish|蒸鱼|条", "fish|鱼, ginger|姜, soy sauce|酱油"),
        ("dumplings|饺子|盘", "flour|面粉, pork|猪肉, cabbage|白菜"),
        ("bean curd|豆腐|盘", "soybean|黄豆, salt|盐, pepper|胡椒"),
        ("tomato soup|番茄汤|碗", "tomato|番茄, egg|鸡蛋, oil|油"),
        ("roast duck|烤鸭|只", "duck|鸭子, honey|蜂蜜, plum sauce|梅子酱"),
        ("rice porridge|粥|碗", "rice|大米, date|红枣, water|水"),
        ("mushroom stew|炖蘑菇|锅", "mushroom|蘑菇, chicken|鸡肉, potato|土豆"),
        ("lotus cake|莲花饼|块", "lotus seed|莲子, sugar|糖, flour|面粉"),
        ("pumpkin pie|南瓜饼|块", "pumpkin|南瓜, milk|牛奶, sugar|糖"),
        ("cold cucumber|凉拌黄瓜|盘", "cucumber|黄瓜, garlic|蒜, vinegar|醋"),
        ("lamb skewers|羊肉串|串", "lamb|羊肉, chilli|辣椒, salt|盐"),
        ("spring rolls|春卷|盘", "carrot|胡萝卜, bean sprout|豆芽, thin dough|薄皮"),
        ("apple tart|苹果派|块", "apple|苹果, butter|黄油, flour|面粉"),
        ("shrimp rice|虾饭|盘", "shrimp|虾, rice|米饭, lemon|柠檬"),
        ("corn bread|玉米饼|块", "corn|玉米, milk|牛奶, egg|鸡蛋"),
        ("bamboo shoot soup|笋汤|碗", "bamboo shoot|竹笋, ham|火腿, salt|盐"),
    )
)
# plant | use
PLANTS = tuple(
    (term(a), term(b))
    for a, b in (
        ("willow|柳树|棵", "baskets|编篮子"),
        ("pine|松树|棵", "building houses|盖房子"),
        ("bamboo|竹子|棵", "making chairs|做椅子"),
        ("peach tree|桃树|棵", "sweet fruit|结甜果"),
        ("plum tree|梅树|棵", "wine|酿酒"),
        ("lotus/lotuses|莲花|朵", "medicine and soup|做药和煮汤"),
        ("orchid|兰花|盆", "gifts|送礼"),
        ("chrysanthemum|菊花|朵", "tea|泡茶"),
        ("rose|玫瑰|朵", "perfume|做香水"),
        ("mulberry|桑树|棵", "feeding silkworms|养蚕"),
        ("tea bush/tea bushes|茶树|棵", "a warm drink|做热饮"),
        ("cotton plant|棉花|棵", "cloth|织布"),
        ("sunflower|向日葵|朵", "oil|榨油"),
        ("oak|橡树|棵", "barrels|做木桶"),
        ("ginger|生姜|块", "curing colds|治感冒"),
        ("mint|薄荷|株", "cool drinks|做凉茶"),
    )
)
WEATHER = terms(
    "sunny|晴朗, cloudy|多云, rainy|下雨, windy|刮风, foggy|有雾, snowy|下雪, stormy|有暴风雨, "
    "hot|炎热, cool|凉爽, freezing|严寒"
)
VEHICLES = terms(
    "by boat|坐船, on foot|步行, by cart|坐马车, by train|坐火车, by bus|坐汽车, "
    "on horseback|骑马, by bicycle|骑自行车, on a mule|骑骡子"
)
REASONS = terms(
    "to visit an old friend|拜访老朋友, to sell goods|卖货, to see a doctor|看医生, "
    "to look for work|找工作, to attend a wedding|参加婚礼, to buy tools|买工具, "
    "to study at the school|上学, to take part in the festival|参加节日, to bring a letter|送信, "
    "to see the mountain|看山"
)
OBJECTS = terms(
    "old map|旧地图|张, silver coin|银币|枚, small key|小钥匙|把, red kite|红风筝, "
    "wooden box/wooden boxes|木盒子, letter|信|封, green stone|绿石头|块, broken clock|坏钟|座, "
    "little dog|小狗|条, straw hat|草帽|顶, bronze mirror|铜镜|面, paper lantern|纸灯笼|盏"
)
PLACES = terms(
    "under the old bridge|旧桥下, behind the temple|寺庙后面, near the well|水井旁, "
    "in the market|集市里, beside the mill|磨坊旁边, on the river bank|河岸上, at the gate|城门口, "
    "in the tea house|茶馆里, in the orchard|果园里, on the hill|山坡上"
)
FEELINGS = terms(
    "happy|高兴, sad|难过, moved|感动, surprised|惊讶, angry|生气, proud|骄傲, worried|担心, "
    "grateful|感激, calm|平静, excited|激动"
)
SICKNESSES = terms(
    "a cold|感冒, a headache|头痛, a cough|咳嗽, a fever|发烧, a sore back|腰疼, toothache|牙疼"
)
