"""The Chinese sentences of the sample: the same kinds of facts as in `english`."""

from __future__ import annotations

from demo.grammar import Grammar

FORMS: dict[str, tuple[str, ...]] = {
    "town_is": (
        "{s.zh}是{region.zh}的一个{kind.zh}。",
        "{s.zh}是位于{region.zh}的著名{kind.zh}。",
        "在{region.zh}有一个叫{s.zh}的{kind.zh}。",
        "许多到{region.zh}旅行的人都会去{s.zh}这个{kind.zh}。",
    ),
    "town_river": (
        "{s.zh}坐落在{river.zh}边。",
        "{river.zh}从{s.zh}旁流过。",
        "{river.zh}为{s.zh}提供用水。",
        "{s.zh}的房屋沿着{river.zh}的河岸而建。",
    ),
    "town_population": (
        "{s.zh}有{n.zh}名居民。",
        "大约有{n.zh}人住在{s.zh}。",
        "{s.zh}的人口是{n.zh}人。",
        "根据最近的统计，{s.zh}有居民{n.zh}人。",
    ),
    "town_founded": (
        "{s.zh}建于{year.zh}年。",
        "{s.zh}最早的房子建于{year.zh}年。",
        "{s.zh}的历史从{year.zh}年开始。",
        "自{year.zh}年起就有人住在{s.zh}。",
    ),
    "town_product": (
        "{s.zh}以{trade.zh}做的{good.zh}闻名。",
        "{s.zh}的每个{trade.zh}都做{good.zh}。",
        "市场上的大部分{good.zh}来自{s.zh}，那里有许多{trade.zh}。",
        "{s.zh}的{trade.zh}把{good.zh}卖到各地。",
    ),
    "town_dish": (
        "{s.zh}人最爱吃的是{dish.zh}。",
        "到{s.zh}的客人总能吃到{dish.zh}。",
        "{s.zh}的{dish.zh}很有名。",
        "来到{s.zh}的人都应该尝尝{dish.zh}。",
    ),
    "town_festival": (
        "每年{month.zh}，{s.zh}举办{festival.zh}。",
        "{s.zh}的{festival.zh}在{month.zh}举行。",
        "{month.zh}，人们来{s.zh}参加{festival.zh}。",
        "因为{festival.zh}，{s.zh}在{month.zh}里到处是客人。",
    ),
    "town_market": (
        "{s.zh}的赶集日是{day.zh}。",
        "{day.zh}，{s.zh}的集市一大早就开了。",
        "{s.zh}每逢{day.zh}都有集市。",
        "每到{day.zh}，农民们就把货物运到{s.zh}。",
    ),
    "town_neighbour": (
        "{s.zh}位于{town.zh}{direction.zh}面{n.zh}公里处。",
        "从{town.zh}往{direction.zh}走{n.zh}公里就到{s.zh}。",
        "{town.zh}{direction.zh}面{n.zh}公里是{s.zh}。",
        "一条{n.zh}公里长的路从{town.zh}向{direction.zh}通到{s.zh}。",
    ),
    "town_person": (
        "{trade.zh}{person.zh}住在{s.zh}。",
        "{s.zh}最出名的{trade.zh}是{person.zh}。",
        "在{s.zh}，人人都认识{trade.zh}{person.zh}。",
    ),
    "river_source": (
        "{s.zh}发源于{mountain.zh}。",
        "{s.zh}的源头在{mountain.zh}上。",
        "{mountain.zh}的雪水流入{s.zh}。",
        "在{mountain.zh}的山坡上，一股泉水变成了{s.zh}。",
    ),
    "river_end": (
        "{s.zh}流入{sea.zh}。",
        "{s.zh}最后到达{sea.zh}。",
        "{s.zh}的水一直流到{sea.zh}。",
    ),
    "river_length": (
        "{s.zh}长{n.zh}公里。",
        "{s.zh}的长度是{n.zh}公里。",
        "从源头到河口，{s.zh}全长{n.zh}公里。",
    ),
    "river_fish": (
        "渔夫在{s.zh}捕{fish.zh}。",
        "{s.zh}盛产{fish.zh}。",
        "{s.zh}里最常见的鱼是{fish.zh}。",
    ),
    "river_flood": (
        "{s.zh}常在{month.zh}发洪水。",
        "{month.zh}时{s.zh}的水位最高。",
        "{month.zh}水太高，船不能渡过{s.zh}。",
    ),
    "river_town": (
        "{s.zh}流经{kind.zh}{town.zh}。",
        "{s.zh}沿岸有一个{kind.zh}叫{town.zh}。",
        "{town.zh}在{s.zh}边有一个码头。",
    ),
    "animal_is": (
        "{s.zh}是一种{colour.zh}的{kind.zh}。",
        "{s.zh}属于{kind.zh}，通常是{colour.zh}的。",
        "和其他{kind.zh}一样，{s.zh}很容易认出来：它的颜色是{colour.zh}。",
    ),
    "animal_home": (
        "{s.zh}生活在{place.zh}。",
        "{s.zh}的家在{place.zh}。",
        "你可以在{place.zh}找到{s.zh}。",
    ),
    "animal_eats": (
        "{s.zh}吃{food.zh}。",
        "{s.zh}的食物是{food.zh}。",
        "{s.zh}主要找{food.zh}吃。",
        "没有{food.zh}，{s.zh}就活不下去。",
    ),
    "animal_life": (
        "{s.zh}能活{n.zh}年。",
        "{s.zh}可以活到{n.zh}岁。",
        "过了{n.zh}年，{s.zh}就很老了。",
    ),
    "animal_weight": (
        "{s.zh}可以重达{n.zh}磅。",
        "{s.zh}的体重最多有{n.zh}磅。",
        "一只成年的大约重{n.zh}磅。",
    ),
    "animal_young": (
        "{s.zh}在{month.zh}生小崽。",
        "幼崽在{month.zh}出生。",
        "{month.zh}里{s.zh}照顾它的幼崽。",
    ),
    "animal_night": (
        "{s.zh}白天睡觉，夜里醒着。",
        "夜里{s.zh}出来活动。",
        "天黑以前很少看见{s.zh}。",
    ),
    "animal_day": (
        "{s.zh}白天醒着，夜里睡觉。",
        "{s.zh}和太阳一起起床。",
        "天黑的时候，{s.zh}就去睡觉。",
    ),
    "animal_keeper": (
        "{person.zh}养它已经很多年了。",
        "{person.zh}比谁都了解{s.zh}。",
        "所有动物里{person.zh}最喜欢{s.zh}。",
    ),
    "plant_is": (
        "{s.zh}生长在{region.zh}。",
        "{s.zh}在{region.zh}很常见。",
        "在{region.zh}到处都能看到{s.zh}。",
    ),
    "plant_flower": (
        "{s.zh}在{month.zh}开{colour.zh}的花。",
        "{month.zh}，{s.zh}开出{colour.zh}的花朵。",
        "{s.zh}的花是{colour.zh}的，{month.zh}开放。",
    ),
    "plant_use": (
        "人们用{s.zh}来{use.zh}。",
        "{s.zh}可以用来{use.zh}。",
        "种{s.zh}是为了{use.zh}。",
    ),
    "plant_height": (
        "{s.zh}能长到{n.zh}尺高。",
        "{s.zh}的高度是{n.zh}尺。",
        "几年以后{s.zh}能有{n.zh}尺。",
    ),
    "plant_seen": (
        "{town.zh}有一棵很有名的。",
        "{town.zh}的人喜爱{s.zh}。",
        "在{town.zh}附近，{s.zh}长满了整个山坡。",
    ),
    "trade_makes": (
        "{s.zh}用{material.zh}做{good.zh}。",
        "{s.zh}把{material.zh}做成{good.zh}。",
        "{s.zh}需要{material.zh}来做{good.zh}。",
    ),
    "trade_tool": (
        "这一行最重要的工具是{tool.zh}。",
        "{s.zh}用{tool.zh}干活。",
        "没有{tool.zh}，{s.zh}就没法工作。",
    ),
    "trade_years": (
        "学这门手艺要{n.zh}年。",
        "{s.zh}要学习{n.zh}年。",
        "学满{n.zh}年就可以当师傅。",
    ),
    "trade_price": (
        "{s.zh}卖{good.zh}，每{good.measure}{n.zh}个铜板。",
        "一{good.measure}{good.zh}要{n.zh}个铜板。",
        "付{n.zh}个铜板，{s.zh}就给你一{good.measure}{good.zh}。",
        "一{good.measure}{good.zh}，{s.zh}要价{n.zh}个铜板。",
    ),
    "trade_master": (
        "{town.zh}的{person.zh}是这门手艺的师傅。",
        "{town.zh}的{person.zh}是一位好师傅。",
        "想学的人都去{town.zh}找{person.zh}。",
    ),
    "dish_parts": (
        "做{s.zh}需要{one.zh}、{two.zh}和{three.zh}。",
        "{s.zh}是用{one.zh}、{two.zh}和{three.zh}做的。",
        "如果想做{s.zh}，就准备{one.zh}、{two.zh}和{three.zh}。",
    ),
    "dish_wash": (
        "先把{one.zh}洗净切好。",
        "从{one.zh}开始：好好洗一洗。",
        "先把{one.zh}放进冷水里。",
    ),
    "dish_cook": (
        "然后把{one.zh}和{two.zh}一起煮{n.zh}分钟。",
        "加入{two.zh}，等{n.zh}分钟。",
        "用小火把所有东西煮{n.zh}分钟。",
        "{one.zh}和{two.zh}要在火上煮{n.zh}分钟。",
    ),
    "dish_add": (
        "最后加入{three.zh}。",
        "最后放一些{three.zh}。",
        "上桌之前再加{three.zh}。",
    ),
    "dish_season": (
        "人们喜欢在{season.zh}吃{s.zh}。",
        "{season.zh}是吃{s.zh}的最好时候。",
        "{season.zh}里家家都做{s.zh}。",
    ),
    "dish_price": (
        "茶馆里的{s.zh}要{n.zh}个铜板。",
        "一份{s.zh}卖{n.zh}个铜板。",
        "买{s.zh}要付{n.zh}个铜板。",
    ),
    "person_trade": (
        "{s.zh}在{town.zh}当{trade.zh}。",
        "{s.zh}是住在{town.zh}的{trade.zh}。",
        "在{town.zh}，{s.zh}靠当{trade.zh}谋生。",
        "{s.zh}的职业是{trade.zh}，住在{town.zh}。",
    ),
    "person_born": (
        "{s.zh}{year.zh}年出生在{town.zh}。",
        "{year.zh}年，{s.zh}在{town.zh}出生。",
        "{s.zh}于{year.zh}年在{town.zh}来到世上。",
    ),
    "person_makes": (
        "{s.zh}用{material.zh}做{good.zh}。",
        "{s.zh}每天都做{good.zh}，用的{material.zh}总是很好。",
        "{s.zh}为自己的{good.zh}感到自豪。",
    ),
    "person_animal": (
        "{s.zh}最喜欢的动物是{animal.zh}。",
        "{s.zh}喜欢看{animal.zh}。",
        "{s.zh}曾经在墙上画过一{animal.measure}{animal.zh}。",
    ),
    "person_dish": (
        "{s.zh}喜欢吃{dish.zh}。",
        "{s.zh}最爱吃的是{dish.zh}。",
        "有喜事的时候，{s.zh}就做{dish.zh}。",
    ),
    "person_character": (
        "{s.zh}又{one.zh}又{two.zh}。",
        "大家都说{s.zh}很{one.zh}，也很{two.zh}。",
        "邻居们觉得{s.zh}{one.zh}、{two.zh}。",
    ),
    "person_hobby": (
        "空闲时{s.zh}喜欢{hobby.zh}。",
        "{s.zh}热爱{hobby.zh}。",
        "没有什么比{hobby.zh}更让{s.zh}快乐。",
    ),
    "person_river": (
        "{s.zh}常在{river.zh}边散步。",
        "从{s.zh}的窗口能看到{river.zh}。",
        "小时候{s.zh}在{river.zh}里游过泳。",
    ),
    "person_parents": (
        "{s.zh}的父亲是{father.zh}，母亲是{mother.zh}。",
        "{s.zh}是{father.zh}和{mother.zh}的孩子。",
        "{father.zh}和{mother.zh}是{s.zh}的父母。",
    ),
    "person_sibling": (
        "{s.zh}和{person.zh}一起长大。",
        "{person.zh}和{s.zh}是一家人。",
        "{s.zh}和{person.zh}有同样的父母。",
    ),
    "person_spouse": (
        "{s.zh}{year.zh}年和{person.zh}结婚。",
        "{year.zh}年，{s.zh}和{person.zh}成了亲。",
        "{s.zh}和{person.zh}从{year.zh}年起就是夫妻。",
    ),
    "person_child": (
        "{person.zh}是{s.zh}的一个孩子。",
        "{s.zh}有一个孩子叫{person.zh}。",
        "{s.zh}的孩子里有{person.zh}。",
    ),
    "person_younger": (
        "{s.zh}比{person.zh}小{n.zh}岁。",
        "{s.zh}出生时{person.zh}{n.zh}岁。",
        "{person.zh}比{s.zh}大{n.zh}岁。",
    ),
    "family_is": (
        "{s.zh}和{person.zh}住在{town.zh}，一共有{n.zh}个孩子。",
        "{s.zh}和{person.zh}一家住在{town.zh}，孩子的数目是{n.zh}。",
        "在{town.zh}住着{s.zh}和{person.zh}一家，共有{n.zh}个孩子。",
    ),
    "journey_start": (
        "{year.zh}年{month.zh}{n.zh}日，{s.zh}{vehicle.zh}从{a.zh}去{b.zh}。",
        "{s.zh}于{year.zh}年{month.zh}{n.zh}日{vehicle.zh}离开{a.zh}前往{b.zh}。",
        "那是{year.zh}年{month.zh}{n.zh}日，{s.zh}{vehicle.zh}从{a.zh}出发到{b.zh}。",
    ),
    "journey_reason": (
        "{s.zh}想去{reason.zh}。",
        "目的是{reason.zh}。",
        "{s.zh}这次出门是为了{reason.zh}。",
    ),
    "weather_is": (
        "那天天气{weather.zh}。",
        "{s.zh}起床时，外面{weather.zh}。",
        "一整天都{weather.zh}。",
    ),
    "weather_town": (
        "{s.zh}的天气{weather.zh}。",
        "那天{s.zh}{weather.zh}。",
        "那天早上{s.zh}{weather.zh}。",
    ),
    "journey_stop": (
        "路上{s.zh}在{town.zh}停下来吃了{dish.zh}。",
        "在{town.zh}，{s.zh}休息了一会儿，吃了些{dish.zh}。",
        "中午{s.zh}到了{town.zh}，那里的{dish.zh}非常好吃。",
    ),
    "journey_meet": (
        "在那里{s.zh}遇到了来自{town.zh}的{trade.zh}{person.zh}。",
        "{s.zh}和{person.zh}谈了很久，{person.zh}是{town.zh}的{trade.zh}。",
        "{town.zh}的{trade.zh}{person.zh}正好同路。",
    ),
    "buys": (
        "{s.zh}买了{count.zh}{good.measure}{good.zh}，每{good.measure}{each.zh}个铜板，"
        "共付{n.zh}个铜板。",
        "{s.zh}花{n.zh}个铜板买了{count.zh}{good.measure}{good.zh}，"
        "也就是每{good.measure}{each.zh}个铜板。",
        "一{good.measure}{good.zh}要{each.zh}个铜板，"
        "所以{s.zh}为{count.zh}{good.measure}付了{n.zh}个铜板。",
    ),
    "market_earned": (
        "到了晚上，{s.zh}挣了{n.zh}个铜板。",
        "{s.zh}带着{n.zh}个铜板回家。",
        "那天{s.zh}收入{n.zh}个铜板。",
    ),
    "journey_feel": (
        "{s.zh}感到{feeling.zh}。",
        "{s.zh}对此很{feeling.zh}。",
        "看得出来{s.zh}很{feeling.zh}。",
    ),
    "journey_end": (
        "{n.zh}个小时以后，{s.zh}到达{b.zh}。",
        "{s.zh}用了{n.zh}个小时到了{b.zh}。",
        "路上走了{n.zh}个小时，{s.zh}终于看到了{b.zh}的房子。",
    ),
    "story_find": (
        "有一天，{s.zh}在{town.zh}的{place.zh}找到一{thing.measure}{thing.zh}。",
        "在{town.zh}的{place.zh}，{s.zh}看见地上有一{thing.measure}{thing.zh}。",
        "{s.zh}走过{town.zh}，在{place.zh}捡到一{thing.measure}{thing.zh}。",
    ),
    "story_ask": (
        "{s.zh}问{person.zh}：“这是谁的{thing.zh}？”",
        "{s.zh}把{thing.zh}给{person.zh}看，问道：“你认得它吗？”",
        "{s.zh}去找{person.zh}，问是谁丢了{thing.zh}。",
    ),
    "story_owner": (
        "{s.zh}回答：“这是{person.zh}的。”",
        "“{thing.zh}是{person.zh}的。”{s.zh}说。",
        "{s.zh}知道{person.zh}丢了{thing.zh}。",
    ),
    "story_sick": (
        "{s.zh}得了{sickness.zh}，躺在床上。",
        "{s.zh}因为{sickness.zh}不能出门。",
        "{s.zh}因为{sickness.zh}在家待了三天。",
    ),
    "story_give": (
        "{s.zh}把{thing.zh}送到{person.zh}那里。",
        "于是{s.zh}把{thing.zh}还给了{person.zh}。",
        "当天晚上，{s.zh}把{thing.zh}带给了{person.zh}。",
    ),
    "story_thanks": (
        "{s.zh}感谢{person.zh}，做了两个人的{dish.zh}。",
        "“谢谢你！”{s.zh}对{person.zh}说，他们一起吃了{dish.zh}。",
        "{s.zh}高兴极了，一定要{person.zh}留下来吃{dish.zh}。",
    ),
}

QUESTIONS: dict[str, tuple[str, ...]] = {
    "town_is": ("{s.zh}在哪里？", "{s.zh}是什么地方？"),
    "town_river": ("哪条河从{s.zh}旁流过？", "{s.zh}在哪条河边？"),
    "town_population": ("有多少人住在{s.zh}？", "{s.zh}的人口是多少？"),
    "town_founded": ("{s.zh}是什么时候建立的？", "{s.zh}有多少年的历史？"),
    "town_product": ("{s.zh}以什么闻名？", "{s.zh}的人做什么？"),
    "town_dish": ("{s.zh}的人吃什么？", "{s.zh}人最爱吃什么？"),
    "town_festival": ("{s.zh}的{festival.zh}在什么时候？", "{month.zh}里{s.zh}有什么活动？"),
    "town_market": ("{s.zh}的赶集日是哪一天？", "{s.zh}的集市在星期几？"),
    "town_neighbour": ("从{town.zh}到{s.zh}有多远？", "{s.zh}位于哪里？"),
    "river_source": ("{s.zh}发源于哪里？", "{s.zh}的源头在哪里？"),
    "river_end": ("{s.zh}流到哪里为止？", "{s.zh}流入哪里？"),
    "river_length": ("{s.zh}有多长？",),
    "river_fish": ("{s.zh}里有什么鱼？",),
    "animal_home": ("{s.zh}生活在哪里？", "在哪里能找到{s.zh}？"),
    "animal_eats": ("{s.zh}吃什么？", "{s.zh}的食物是什么？"),
    "animal_life": ("{s.zh}能活到几岁？", "{s.zh}能活多久？"),
    "animal_is": ("{s.zh}是哪一类动物？", "{s.zh}是什么颜色？"),
    "plant_flower": ("{s.zh}什么时候开花？", "{s.zh}的花是什么颜色？"),
    "plant_use": ("{s.zh}有什么用？",),
    "plant_is": ("{s.zh}长在哪里？",),
    "trade_makes": ("{s.zh}做什么？", "{s.zh}需要什么？"),
    "trade_tool": ("{s.zh}用什么工具？",),
    "trade_price": ("一{good.measure}{good.zh}要多少钱？", "一{good.measure}{good.zh}是什么价钱？"),
    "dish_parts": ("{s.zh}怎么做？", "做{s.zh}需要什么？"),
    "dish_season": ("人们什么时候吃{s.zh}？",),
    "person_trade": ("{s.zh}是做什么的？", "{s.zh}在哪里工作？"),
    "person_born": ("{s.zh}是哪一年出生的？", "{s.zh}出生在哪里？"),
    "person_dish": ("{s.zh}喜欢吃什么？",),
    "person_hobby": ("{s.zh}晚上做什么？", "{s.zh}喜欢做什么？"),
    "person_parents": ("{s.zh}的父母是谁？",),
    "person_spouse": ("{s.zh}和谁结了婚？", "{s.zh}什么时候结婚的？"),
    "person_character": ("{s.zh}是个怎样的人？",),
    "buys": ("{s.zh}为{count.zh}{good.measure}{good.zh}付了多少钱？",),
}

GRAMMAR = Grammar(
    forms=FORMS,
    questions=QUESTIONS,
    titles=("{title.zh}", "关于{title.zh}", "{title.zh}（{category.zh}）", "{title.zh}简介"),
    openings=(
        "请写一段关于{title.zh}的短文。",
        "给我讲讲{title.zh}。",
        "关于{title.zh}，你知道些什么？",
        "请用几句话介绍{title.zh}。",
    ),
    gap="",
)
TRANSLATE_TO_CHINESE = (
    "请把下面的句子翻译成中文。",
    "这句话用中文怎么说？",
    "请给出中文译文。",
)
