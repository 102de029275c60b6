"""The words that fill the templates' slots: fixed vocabularies, and free text in two disjoint halves.

Free text (songs, shopping items, tasks, people) is copied into the answer. The held-out sets use only the
HELD_* words, which training never sees.
"""

ROOMS = {
    "living_room": "living room|living room|lounge|sitting room",
    "kitchen": "kitchen",
    "bedroom": "bedroom",
    "bathroom": "bathroom|bath",
    "hallway": "hallway|hall|corridor",
    "office": "office|study",
    "kids_room": "kids room|kids' room|children's room|nursery",
    "guest_room": "guest room|spare room",
    "dining_room": "dining room",
    "garage": "garage",
    "garden": "garden",
    "basement": "basement|cellar",
    "attic": "attic|loft",
    "balcony": "balcony",
    "terrace": "terrace|patio",
}
ON_ROOMS = ("balcony", "terrace")
HERE = "here|in here|in this room"
EVERYWHERE = (
    "everywhere|in the whole house|in every room|in all rooms|in all the rooms|all over the house|in the entire house"
)
ALL_LIGHTS = "all the lights|all lights|every light|all of the lights|all the lamps|the lights everywhere"

FIXED = {
    "light": {"": "light|light|lights|lights|lamp|lamps"},
    "heat": {"": "heating|temperature|heat|thermostat|radiator"},
    "heater": {"": "heating|heater|heat|radiator"},
    "blinds": {"": "blinds|blinds|shutters|curtains|shades|blind|roller blinds"},
    "music": {"": "music|music|song|track|playlist"},
    "sound": {"": "volume|sound|music|audio"},
    "color": {
        "red": "red",
        "green": "green",
        "blue": "blue",
        "yellow": "yellow",
        "orange": "orange",
        "purple": "purple|violet",
        "pink": "pink",
        "white": "white",
        "warm_white": "warm white",
        "cold_white": "cold white|cool white",
        "turquoise": "turquoise|cyan|teal",
    },
    "door": {
        "front": "front door|main door|entrance door",
        "back": "back door|rear door",
        "garage": "garage door|garage",
        "gate": "gate|garden gate",
        "patio": "patio door|terrace door",
        "basement": "basement door|cellar door",
    },
    "device": {
        "tv": "tv|television|telly",
        "fan": "fan|ceiling fan",
        "coffee_machine": "coffee machine|coffee maker",
        "vacuum": "vacuum|robot vacuum|vacuum cleaner|hoover",
        "dishwasher": "dishwasher",
        "washing_machine": "washing machine|washer",
        "dryer": "dryer|tumble dryer",
        "oven": "oven",
        "kettle": "kettle",
        "radio": "radio",
        "air_purifier": "air purifier",
        "humidifier": "humidifier",
        "sprinkler": "sprinkler|sprinklers",
    },
    "scene": {
        "movie": "movie|film|cinema",
        "party": "party",
        "reading": "reading",
        "dinner": "dinner|dining",
        "relax": "relax|relaxing|chill",
        "work": "work|working|focus|study",
    },
    "sceneact": {
        "movie": "a movie|movie night|the film|a film|the movie|film night",
        "party": "the party|a party|party time|our party",
        "reading": "reading|some reading|a good book|my book",
        "dinner": "dinner|supper|dining|a dinner",
        "relax": "relaxing|chilling|some relaxing|a bit of relaxing",
        "work": "work|working|studying|some work|focus",
    },
}

DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"

TIMER_NAMES = "pasta|pizza|egg|tea|laundry|cake|rice|bread|chicken|coffee|soup|oven|potato|workout|homework|nap|steak|cookies|eggs|noodles|meeting|meditation"
HELD_TIMER_NAMES = "lasagna|lentils|yoga|muffin|dumplings|parking|salmon|broccoli|washing|quiche"

CITIES = "paris|london|berlin|rome|madrid|new york|boston|vienna|tokyo|chicago"
HELD_CITIES = "lisbon|dublin|oslo|denver|prague"
COUNTRIES = "france|germany|italy|spain|england|america|china|japan|canada"
HELD_COUNTRIES = "norway|brazil|poland|kenya"
TOPICS = "black holes|the moon|history|cats|dinosaurs|physics|the sea|elephants|robots|democracy|volcanoes|football|the internet|python|space|gravity|art|the romans|climate change|love|electricity|chess"
HELD_TOPICS = "penguins|photosynthesis|the vikings|algebra|mozart|inflation|jellyfish|sharks"

PEOPLE = "anna|ben|clara|david|emma|felix|grace|hannah|ian|julia|kevin|laura|mark|nina|oliver|paul|rachel|sam|tom|uma|victor|wendy|my mum|my mom|my dad|my sister|my boss|my wife|my husband|grandma|mom|dad"
HELD_PEOPLE = "beatrice|gustav|ingrid|leopold|matilda|rupert|sigrid|theodore|my uncle|my aunt|my neighbour|my landlord"

ITEMS = "milk|bread|eggs|butter|cheese|apples|bananas|tomatoes|coffee|tea|sugar|salt|flour|rice|pasta|onions|garlic|potatoes|carrots|chicken|beef|fish|yoghurt|cream|oat milk|olive oil|orange juice|water|beer|red wine|toilet paper|paper towels|soap|shampoo|toothpaste|dish soap|batteries|cat food|dog food|light bulbs|honey|jam|peanut butter|cereal|chocolate|cookies|ice cream|frozen peas|spinach|lettuce|cucumbers|lemons|strawberries|mushrooms|tofu|ham|bacon|sausages|crackers|nuts|raisins|vinegar|mustard|ketchup|baking powder|yeast|napkins|trash bags|tin foil|candles|diapers|wet wipes|sparkling water|grapes|pears|corn|beans|soup|crisps|bin bags|washing powder"
HELD_ITEMS = "zucchini|aubergines|coconut milk|maple syrup|cinnamon|sourdough|parmesan|blueberries|pistachios|kombucha|sponges|dental floss|rosemary|avocados|halloumi|ginger|smoked salmon|oregano|baguettes|tahini|cauliflower|turmeric|paprika|mangoes|pumpkin seeds|clothes pegs|hand cream|marshmallows|quinoa|pomegranates"
QUANTITIES = "two|three|four|six|ten|a pack of|a bottle of|two bottles of|a bag of|a box of|some|a dozen|more|five|a can of|two packs of|a kilo of|a jar of|half a kilo of"

GENRES = "jazz|rock|pop|classical music|hip hop|blues|techno|country music|reggae|soul|metal|folk|house music|piano music|christmas songs|opera|ambient|disco|funk|dance music|lullabies|film music|salsa|punk|indie rock|relaxing music|happy songs|dinner music|party music|workout music|the news|the radio|my favourites|my playlist"
HELD_GENRES = (
    "bossa nova|bluegrass|grunge|flamenco|synthwave|gospel|harp music|whale songs|sea shanties|drum and bass|ska|polka"
)
ARTISTS = "the beatles|queen|abba|madonna|bob dylan|mozart|bach|adele|coldplay|david bowie|nina simone|miles davis|elvis|johnny cash|pink floyd|the rolling stones|taylor swift|ed sheeran|radiohead|u2|metallica|bob marley|beethoven|daft punk|prince|frank sinatra|billie eilish|drake"
HELD_ARTISTS = (
    "dvorak|fleetwood mac|erykah badu|kraftwerk|joni mitchell|tchaikovsky|gorillaz|portishead|otis redding|sade"
)
SONGS = "yesterday|imagine|bohemian rhapsody|dancing queen|hey jude|thriller|smoke on the water|yellow submarine|billie jean|purple rain|let it be|wonderwall|summertime|take five|the four seasons|moonlight sonata|hotel california|waterloo|hello|rolling in the deep|here comes the sun|space oddity|like a virgin|fix you"
HELD_SONGS = "blue monday|gymnopedie|paint it black|ring of fire|clair de lune|heroes|stairway to heaven|losing my religion|africa|wild horses|the girl from ipanema|under pressure"

TASKS = "call {person}|call the dentist|call the bank|take out the trash|take out the bins|water the plants|feed the cat|feed the dog|walk the dog|pay the rent|pay the bills|buy flowers|take my pills|take my medicine|drink water|do the laundry|hang up the washing|clean the kitchen|clean the windows|empty the dishwasher|pick up the kids|pick up {person}|send the report|email {person}|text {person}|book a table|charge the car|charge my phone|check the oven|close the windows|do my homework|finish the presentation|go to the gym|go for a run|lock the shed|mow the lawn|renew my passport|return the books|wash the car|write to {person}|prepare the meeting|visit {person}|buy a present for {person}|buy {item}|get {item}|defrost the chicken|change the sheets|vacuum the stairs|stretch|go to bed|leave for work|thank {person}|ask {person} about the car|bring the keys|backup the laptop|turn the roast|meet {person}|congratulate {person}"
HELD_TASKS = "call {person}|descale the espresso maker|prune the roses|sign the lease|bleed the brakes|iron the shirts|collect the parcel|phone the plumber|fetch the tickets|polish the silver|invite {person}|practise the violin|submit the tax return|rinse the filters|buy {item}|shovel the snow|order ink|measure the shelf|apologise to {person}|sharpen the knives|cancel the subscription|move the bike"

NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()

ONSETS = (
    "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl fr gl gr pl pr sh sk sl sm sn sp st str th tr tw".split()
)
VOWELS = "a e i o u a e i o u ai ea ee oa oo ou ie".split()
CODAS = "- - - - b d g k l m n p r s t x ck ld ll lt nd ng nk nt rd rk rn rt sh ss st th".split()
ENDINGS = "- - - - s er y ing le ion ella ino ette ia o a et us".split()
