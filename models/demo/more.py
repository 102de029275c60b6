"""Further phrasings that only training uses: none of them is held out, so heldout.jsonl does not depend on them.

The lines are written as in templates.py, without its marks for held-out lines. data.py checks that none of them can
become a held-out wording.
"""

PHRASES = {
    "light.on": """
let the {light} [shine|burn|glow]( {inroom})
[hit|pop|knock] the {light} on( {inroom})
[light|brighten] up the {roomadj} please
= i [want|need] to see [something|what i'm doing] {inroom}
= [the|our] {light} [should|must|needs to|has to] [be|come|go] on {inroom}
= [you can|we can|let's] [turn|switch] [on the {light}|the {light} on] {inroom}
= someone should [turn|switch] on the {roomadj} {light}
= it got [dark|really dark|too dark] {inroom}
= can't see [a thing|anything] {inroom}
= why are the {light} off {inroom}
[turn|switch|put] the {light} [back|] on again( {inroom})
= i could use [some|a little|a bit of] light {inroom}
[power|flick|put|bring] on {all}
[put|get|have] {all} [on|going]( now)
= {all} [on please|please|should be on|must go on|on now]
= i [need|would like|want to have] {all} on
""",
    "light.off": """
[power|flick|put] off {all}
[get|have|cut] {all} [off|out]( now)
= {all} [off please|out|should be off|must go off|off now]
= i [need|would like|want to have] {all} off
[hit|pop|knock] the {light} off( {inroom})
[turn|switch] the {light} off again( {inroom})
[turn|switch|put] the {light} out again( {inroom})
= [the|our] {light} [should|must|needs to|has to] [be|go] off {inroom}
= [you can|we can|let's] [turn|switch] [off the {light}|the {light} off] {inroom}
= [nobody|no one] needs the {light} on {inroom}
= why [is|are] the {light} still on {inroom}
= i'm leaving the {room} so [kill|cut] the {light}
[extinguish|douse] the {light}( {inroom})
= darkness {inroom} please
let there be no light {inroom}
black out the {room}
= the {light} {inroom} [is|are] not needed( any more| anymore)
""",
    "light.set": """
[set|put|bring|take|move] the {roomadj} {light} [brightness|level] to {level}
[set|fix|leave] the {roomadj} {light} at {level}
[soften|reduce|drop] the {roomadj} {light} [down |]to {level}
[dim|reduce|drop|take down] the {light} {inroom} to {level}
[brighten|boost|push|crank] the {roomadj} {light} [up |]to {level}
[brighten|boost|increase] the {light} {inroom} to {level}
= the {roomadj} {light} [needs|must|has] to be at {level}
= i need the {roomadj} {light} at {level}
= [only|just|exactly] {level} [light|brightness] {inroom}
= {level} for the {roomadj} {light}
= {level} on the {roomadj} {light}
[run|keep|hold] the {light} at {level}( {inroom})
""",
    "light.dim": """
[dim|soften|tone down|take down] the {light}( a bit| a little| slightly| some)( {inroom})
tone the {roomadj} {light} down( a bit| a little)
= the {light} [hurts|hurt] my eyes( {inroom})
= [that's|it's] [way |far |much |a bit |a little |]too bright( for me| for my eyes)( {inroom})
= the {light} {inroom} [could|should|can] be [dimmer|darker|softer|less bright]
= it [could|should] be [a bit |a little |][dimmer|darker|softer] {inroom}
= [dimmer|softer] [light|lights]( {inroom})
= i need it [dimmer|darker|softer] {inroom}
= i need less light {inroom}
get the {light} [dimmer|darker|a bit dimmer|a little darker]( {inroom})
bring the {light} down( a bit| a little| a notch)( {inroom})
= the {light} [is|are] [blinding|dazzling|glaring|way too strong|far too strong]( {inroom})
""",
    "light.brighten": """
[lighten|liven] [it|things] up( a bit| a little) {inroom}
brighten up [this place|the whole room|things] {inroom}
= it [could|should] [brighten up|get brighter] {inroom}
[boost|lift|increase|pump up] the {light}( a bit| a little| slightly| some)( {inroom})
brighten the {light} up( a bit| a little)( {inroom})
brighten up the {roomadj} {light}
brighten up the {room}( a bit| a little)
brighten the {room}( a bit| a little)
brighten things up( a bit| a little)( {inroom})
= [a bit|a little|a lot|much] brighter( {inroom})
= brighter [light|lights|please]( {inroom})
= [that's|it's] [way |far |much |a bit |a little |]too [dim|weak]( for me| for my eyes| to read)( {inroom})
= the {light} {inroom} [could|should|can] be [a bit |a little |]brighter
= it [could|should] be [a bit |a little |]brighter {inroom}
= i need it brighter {inroom}
= i need brighter light {inroom}
get the {light} [brighter|a bit brighter|a little brighter]( {inroom})
bring the {roomadj} {light} up( a bit| a little| a notch)
= i [can't|can hardly|can barely] read with this light {inroom}
= more [brightness|light please]( {inroom})
""",
    "light.color": """
[make|turn|switch|set|change] the color of the {light} [to |]{color}( {inroom})
[make|turn|switch] the {room} {color}
[bathe|drench] the {room} in {color}( light)
= {color} [light|lights|please|lamps]( {inroom})
= [could|may] we [have|get] {color} [light|lights]( {inroom})
= can i [have|get] [some |]{color} light( {inroom})
= i [want|need] the {light} [in |]{color}( {inroom})
= let's [have|try|go for] {color} [light|lights] {inroom}
= how about {color} light {inroom}
= {color} [would be nice|looks better|is better] {inroom}
[show|shine|use] {color} light( {inroom})
go {color} {inroom}
= let the {light} be {color}( {inroom})
= the {roomadj} {light} in {color}
turn it {color} {inroom}
= [it|everything] should be {color} {inroom}
""",
    "climate.set": """
[put|bring|take|fix] the {heat} [in the {room} |]to {temp}
[set|program|fix] the {roomadj} {heat} [to|at|for] {temp}
= the {heat} [should|must|needs to|has to] be [at |]{temp}( {inroom})
= the {room} [should|must|needs to|has to] be [at |]{temp}
= i need {temp} {inroom}
= we [want|need|like] {temp} {inroom}
= can [we|i] have {temp} {inroom}
= {temp} [would be nice|would be good|is perfect|please] {inroom}
= {temp} in the {room} please
= the {room} [to|at] {temp}
[heat|warm|cool] it to {temp} {inroom}
= it [must|has to|needs to] be {temp} {inroom}
""",
    "climate.warmer": """
[turn|crank|push|put|bring] the {heat} [in the {room} |]up {adv}
[turn|bring|push] up the {heat} in the {room} {adv}
[raise|increase|lift|boost] the {heat} {inroom} {adv}
[boost|lift|increase] the {roomadj} {heat} {adv}
= the {room} [should|could|must] be {amount} warmer
= it [could|must|needs to] be {amount} warmer {inroom}
= i need it {amount} warmer {inroom}
= we [need|want] it {amount} warmer( {inroom})
= [the {room}|it] needs to be {amount} warmer
= {amount} warmer please( {inroom})
= let it be {amount} warmer {inroom}
go {amount} warmer {inroom}
= can you get it {amount} warmer {inroom}
""",
    "climate.cooler": """
[turn|crank|push|put|bring] the {heat} [in the {room} |]down {adv}
[turn|bring|push|take] down the {heat} in the {room} {adv}
[reduce|decrease|drop|cut] the {heat} {inroom} {adv}
[reduce|decrease|drop|cut] the {roomadj} {heat} {adv}
= the {room} [should|could|must] be {amount} [cooler|colder]
= it [could|must|needs to] be {amount} [cooler|colder] {inroom}
= i need it {amount} [cooler|colder] {inroom}
= we [need|want] it {amount} [cooler|colder]( {inroom})
= [the {room}|it] needs to be {amount} [cooler|colder]
= {amount} cooler please( {inroom})
= let it be {amount} cooler {inroom}
go {amount} [cooler|colder] {inroom}
= can you get it {amount} cooler {inroom}
""",
    "climate.cold": """
= [the {room}|it|this place] is [an icebox|a freezer|a fridge|like the north pole]( {inroom})
= [i'm|we're|i am] [freezing to death|frozen|ice cold|a bit cold|rather cold|quite chilly]( {inroom})
= [i'm|we're] [getting|feeling] [cold|chilly]( {inroom})
= [it|the {room}] is [rather|awfully|terribly|bitterly|a little|way too] [cold|chilly]( {inroom})
= i need [a blanket|a sweater|my coat] {inroom}
= [the {room}|this room] [is|feels] [way too|much too|awfully|a little] [cold|chilly|cool]
= how cold it is {inroom}
= my [nose|ears|legs] [is|are] [cold|freezing]( {inroom})
= [grandma|the cat|the dog|my wife|the guests] [is|are] [cold|freezing]( {inroom})
= we [are|feel] too cold {inroom}
= the {room} is [frosty|arctic|like ice|way too cold|super cold]
""",
    "climate.hot": """
= [the {room}|it|this place] is [an oven|a furnace|a sauna|like the tropics]( {inroom})
= [i'm|we're|i am] [dying of heat|sweating|burning up|a bit hot|rather hot|quite warm]( {inroom})
= [i'm|we're] [getting|feeling] [hot|too warm]( {inroom})
= [it|the {room}] is [rather|awfully|terribly|unbearably|a little|way too] [hot|warm|stuffy]( {inroom})
= i need [some air|a fan|to cool off] {inroom}
= [the {room}|this room] [is|feels] [way too|much too|awfully|a little] [hot|warm]
= how hot it is {inroom}
= [grandma|the cat|the dog|my wife|the guests] [is|are] [hot|sweating|melting]( {inroom})
= we [are|feel] too [hot|warm] {inroom}
= i can't sleep in this heat {inroom}
= the {room} is [baking|burning|unbearable|way too hot|super hot]
""",
    "climate.on": """
[turn|switch|power] the {roomadj} {heater} on
[get|have] the {roomadj} {heater} [on|running|going]
[fire|power|start] up the {roomadj} {heater}
= the {heater} [should|must|needs to|has to] [be|go|come] on( {inroom})
= {heater} [please|on please] {inroom}
= i need the {heater} on( {inroom})
begin [heating|to heat] the {room}
let the {heater} run( {inroom})
[begin|launch|boot] the {heater}( {inroom})
make the {heater} [run|go]( {inroom})
""",
    "climate.off": """
[turn|switch|power] the {roomadj} {heater} off
[get|have] the {roomadj} {heater} off
[shut|power] down the {roomadj} {heater}
= the {heater} [should|must|needs to|has to] [be|go] off( {inroom})
= no [more |]{heater} {inroom}
= i don't need the {heater}( any more| anymore)( {inroom})
quit heating the {room}
cut the {heater}( {inroom})
= the {heater} isn't needed {inroom}
[halt|end|quit] the {heater}( {inroom})
make the {heater} stop( {inroom})
""",
    "blinds.open": """
[raise|lift|draw back] the {roomadj} {blinds}( all the way| completely| fully)
[open|raise|lift] up the {blinds}( {inroom})
[roll|move|put|get] the {roomadj} {blinds} up
= the {blinds} [should|must|need to|can] [be open|go up|open]( {inroom})
= i [want|need] the {roomadj} {blinds} [open|up]
= i'd like to see [the garden|the street|the sun] {inroom}
let the light in through the {blinds}( {inroom})
{blinds} all the way up( {inroom})
""",
    "blinds.close": """
[shut|drop] the {roomadj} {blinds}( all the way| completely| fully)
[drop|draw|let down] the {blinds}( {inroom})
[let|move|put|get] the {roomadj} {blinds} down
= the {blinds} [should|must|need to|can] [be closed|go down|close]( {inroom})
= i [want|need] the {roomadj} {blinds} [closed|down|shut]
= people can look in {inroom}
= [there's|there is] too much sun {inroom}
{blinds} all the way down( {inroom})
""",
    "blinds.set": """
[set|put|move|get|take] the {roomadj} {blinds} [to|at] {level}
[pull|roll|let] the {blinds} [up|down] to {level}( {inroom})
= the {blinds} [should|must|need to] be at {level}( {inroom})
= {level} for the {roomadj} {blinds}
= i need the {blinds} at {level}( {inroom})
[leave|keep|hold] the {blinds} at {level}( {inroom})
""",
    "blinds.half": """
[pull|roll|move|bring] the {roomadj} {blinds} halfway [up|down]
[open|close|raise|lower] the {blinds} [half the way|half way|by half]( {inroom})
[leave|keep] the {blinds} half [open|closed]( {inroom})
= the {blinds} [should|must] be half [open|closed]( {inroom})
= the {roomadj} {blinds} half [open|closed] please
{blinds} half [up|down|raised|lowered]( {inroom})
half [raise|lower|shut|lift] the {blinds}( {inroom})
""",
    "blinds.stop": """
[stop|halt|hold] the {roomadj} {blinds} [now|there|here]
make the {blinds} stop( {inroom})
[don't|do not] move the {blinds} [any further|any more]( {inroom})
= that's [far|high|low] enough [with|for] the {blinds}
= the {roomadj} {blinds} [should|must] stop
""",
    "alarm.set": """
[wake|get] me( up) [around|by] {atime}( {aday})
[get|ring|shake] me [up|awake] at {atime}( {aday})
[wake|rouse] the kids( up) at {atime}( {aday})
[program|put] [an|the|my] alarm( clock) [at|for|to] {atime} {aday}
= [i|we] [need|have|want|would like] to be [up|awake|out of bed] [by|at] {atime}( {aday})
= [i|we] get up at {atime}( {aday})
= {aday} at {atime} wake me up
= at {atime} wake me( up)( {aday})
= {atime} {aday} wake me up
= an alarm [at|for] {atime}( {aday})
= can you wake [me|us] at {atime}( {aday})
= i want to be woken at {atime}( {aday})
= i [can't|mustn't] sleep [past|longer than|beyond] {atime}( {aday})
= alarm clock [at|for|to] {atime}( {aday})
[see to it|take care|make certain] that i'm [up|awake|out of bed] [by|at] {atime}( {aday})
[make sure|ensure] [we're|the kids are] [up|awake|out of bed] [by|at] {atime}( {aday})
""",
    "alarm.cancel": """
[cancel|delete|remove|scrap|kill|erase] the alarm [that's|which is|that is] set for {atime}
[scrap|kill|erase|undo|skip] [the|my] {atime} alarm
= i [won't|will not|no longer] need the {atime} alarm
= i don't [want|need] to be woken at {atime}
= {atime} alarm off
= no {atime} alarm( please| tomorrow)
[shut|take] off the {atime} alarm
""",
    "alarm.cancel.all": """
[cancel|delete|remove|erase|scrap|kill] [all of my|all of the|each of my|my] alarms
[scrap|kill|erase] all( the| my) alarms
= i don't [want|need] [alarms|an alarm] [any more|anymore|at all]
= [no alarm|no alarms] for me
let me sleep without [an alarm|any alarm]
""",
    "alarm.query": """
= [tell me|do you know] when my alarm [is|rings|goes off]
= [tell me|read me|give me] [my|the|all my] alarms
= what's my alarm( set) [to|for|at]
= when [is|are] the [next alarm|alarms|alarm]
= which alarm [did i set|do i have]
= do i have to get up early tomorrow
= did you set [my|the|an] alarm
[check|see] [my alarm|the alarm|my alarms]
= have [we|you] [set|got] [an|the|any] alarm
= is [any|some] alarm set for tomorrow
""",
    "timer.set": """
[set|start|make|run|begin|give me|put] [a|the|my] timer [for|of|to|at|with] {dur}
[set|run|begin|make] [a|another] {duradj} timer
[set|start|run|begin] a {duradj} countdown
= [i|we] [want|need|would like] a {duradj} timer please
= a timer [for|of] {dur}( please)
= a {duradj} timer please
= timer [of|to|at] {dur}
= {dur} [timer please|countdown]
count {dur}( down)
[wake|call|warn] me in {dur}
= [tell|warn] me when {dur} [have|has] passed
""",
    "timer.set.name": """
[start|make|run|begin] a timer for the {tname} for {dur}
[make|run|begin|give me] a {duradj} timer for the {tname}
[make|run|begin|give me] a {duradj} {tname} timer
[set|start] [the|my] {tname} timer [for|at|to] {dur}
= {dur} [timer|on the timer|on the clock] for the {tname}
= {duradj} {tname} timer
= {tname} {dur} timer
= a {tname} timer [for|of] {dur}
= i want a {tname} timer [for|of] {dur}
= the {tname} [has to cook|must cook|should take|will take] {dur}
= my {tname} [needs|takes] {dur}
[put|leave] the {tname} on for {dur}
time the {tname} for {dur}
[call|name] the timer {tname} and set it to {dur}
""",
    "timer.cancel": """
= forget [that|this|about the|about my] timer
[cancel|stop|delete|end|abort|kill] [that|this|our] [timer|countdown]
[quit|drop|scrap] the [timer|countdown]
= the timer [can stop|isn't needed|is not needed|can go]
= [stop|enough] with the timer
= i [no longer|don't] need [that|this|a] timer
[turn|switch] [this|that|our] timer off
[turn|switch] off [this|that] timer
""",
    "timer.cancel.name": """
[quit|scrap|drop|disable] the {tname} timer
[shut|take] the {tname} timer off
[stop|delete|end] the {tname} countdown
= no {tname} timer( please| any more)
= i [no longer|don't] need the timer for the {tname}
= the {tname} [is ready|is finished|is out] so [cancel|stop|end] the timer
[turn|switch] [my|that] {tname} timer off
""",
    "timer.query": """
= how [many|much] [minutes|time|seconds] [does the timer have|until the timer rings|on the timer]
= [when|how soon] [will|does] the timer [be done|ring|run out|stop]
= what time is left
= what's the timer [status|doing|showing]
= is there [time|any time|much time] left( on the timer)
[read|tell me|give me] the [timer|remaining time]
= [remaining time|minutes left|time remaining]( please)
[look at|read out] the timer
= how long [will it be|still|until it's done|till the timer ends]
[have a look at|see] the timer
""",
    "timer.query.name": """
= how [many|much] [minutes|time] for the {tname}
= how [long|much longer] does the {tname} [take|have]
= [when|how soon] will the {tname} be [done|ready|finished]
= is the {tname} [done|ready|finished]( yet)
= what's the {tname} timer [doing|showing|at]
= how long is the {tname} timer( still) [running|going]
[tell me|give me|read me] the {tname} timer
= time left for the {tname}
""",
    "timer.pause": """
[pause|hold|halt|freeze|interrupt|suspend] [the|this|that|our] [timer|countdown]
= timer on [hold|pause]
= the timer should [pause|wait]
stop the timer for a [moment|second|minute]
[hold|freeze|halt|interrupt] my [timer|countdown]
= my timer on hold
[let|make] [the|my] timer pause
""",
    "timer.resume": """
[start|run|set off] [my|that|this] timer again
= start [counting|the countdown] again
[resume|continue|restart|unpause] [this|that|my|our] [timer|countdown]
= the timer [should|can] [go on|continue|run again]
= timer [resume|go on|on again]
[go on|keep going] with the timer
[let|make] the timer run again
""",
    "media.play": """
= [we|i] listen to {song}( now)
= [time to|let us|i'd rather|we could|how about we] listen to {song}
= listening to {song} [now|would be nice|sounds good]
[play|put on] [for me|for us] {song}
[begin|start|open] with {song}
[play|put on|start|stream] {song} [please|right now|for me|again|really loud|next]
= [i|we] [would like|would love|really want|need] to [hear|listen to] {song}( {inroom2})
= i could [listen to|hear] [some |]{song}( now)
= [some|a little|a bit of|more] {song}( please)( {inroom2})
= {song} please
= [could|can|may] [i|we] have [some |a bit of |]{song}( {inroom2})
= {song} [on|from] the [speaker|stereo]
[search for|find|look for|select|choose] {song} and play it
[blast|run|load|open|switch to|change to] {song}( {inroom2})
= [do you have|have you got] {song} [to play|for us]
= now [play|put on] {song}( {inroom2})
let {song} play( {inroom2})
fill the {room} with {song}
= {inroom2} [i want|i'd like] to hear {song}
[begin|launch|turn on|get|go with] [some |a bit of |]{song}( {inroom2})
= {song} now( please)
= i [fancy|want] [some|a bit of] {song}
""",
    "media.resume": """
[get|come|go] back to [playing|playback|the {music} please]
= [go|come] on with the {music} please
= let's get back to the {music}
[unpause|restart] [the|my|this|that] [{music}|playback]
[carry|go|keep] on with the {music}
[play|start] it again
= [let's|we can] [go on|continue] with the {music}
= the {music} [can|should] [go on|continue|play again]
= [music|playback] [again|on again|back on]
= [keep|continue] playing please
= where were we with the {music}
[return|go back|get back] to the {music}
= i want the {music} back
""",
    "media.pause": """
[pause|hold|halt|interrupt|freeze|suspend] [my|this|that|our] {music}
[pause|hold] [the|this] {music} [please|now|briefly|for now]
= [music|playback|song] on [hold|pause]
= [the {music}|it] should [pause|wait]
= wait with the {music}
= pause [now|here|right there]
= a [short|little|quick] break from the {music}
""",
    "media.stop": """
[stop|end|quit|cut off|shut down|switch off] [this|that|my|all] {music}
stop [all|the|this] playback
= [the|this|that] {music} [should|must|can] [stop|go off|end]
= i['m| am] [done|finished] with the {music}
= we don't [want|need] {music}( any more| anymore)
= [turn|switch] [it off|off that] the {music} i mean
= [no {music}|{music} off] please
make the {music} stop
= the {music} has to stop
[quit|end] playing( that| this)
= stop [with|all] the {music}
""",
    "media.next": """
[next|another|a different|a new] [song|track|one|title|tune]( please)
= the [next|following] [song|track|one|title|tune]( please)
[skip|pass] [this one|that one|this tune|this song]
[skip|jump|go|move|hop] [forward|ahead|along]( to the next [song|track|one])
[give|play|bring] me [the next|another|a different|some other] [song|track|one|tune]
[play|give us|put on] [something different|a different song|another tune|the one after this]
= [i|we] [hate|don't want|can't stand|dislike|am tired of|are sick of] this [song|track|tune]
= i don't [want|feel like|enjoy|care for] [this|that] [song|track|one|tune]
= [this|that] [song|track|tune] [sucks|is terrible|is no good|again] [next|skip]
= [enough|no more] of [this|that] [song|track|one|tune]
= [skip|next] [now|it please|that please|one please]
= can we [skip|change] this( one| song)
= let's hear [another|the next] [song|track|one]
""",
    "media.previous": """
[go|jump|skip|step] back [please|once|again|once more]
go back [one|by one|to that one]
= [that one|this one|the last one|that song] [again|once more] please
= [repeat|replay] [that|it] [please|once more]
= the [song|track] [before|earlier] again
[go|jump|skip|move|switch|step] back [to|one to] the [song|track|one] before
[play|give me|bring back] the [song|track|one|tune] [from before|before this one|we just had]
= the [last|previous] [song|track|one|tune]( again| please)
= [song|track] [back|before]
= i [want|liked] the [last|previous] [song|track|one]( again| better| back)
[repeat|replay] the [song|track|one] [before|from before|that just played]
= [let's|can we] hear the [last|previous] [song|track|one] again
[play|start] the [last|previous] one once more
""",
    "volume.set": """
[put|turn|bring|take|fix] the [volume|sound|loudness|audio] [to|at|on] {level}
[turn|bring|take] the [sound|music|audio] [up|down] to {level}
[turn|set|put] it [up |down |]to {level} volume
= the [sound|music] [should|must] be at {level}
= [volume level|sound level|audio] {level}
= i need the volume at {level}
= {level} [loudness|sound|loud]
= volume [should|must] be {level}
""",
    "volume.up": """
[turn|pump|crank|push|bring] [the|this|that] [{sound}|song|tune|track] up( a bit| a little| a lot)
[boost|lift|raise|increase] [the|this] {sound}( a bit| a little| some)
= [louder|more volume|more sound] [please|now|for me]
= [way|far|much|a lot|a tad|slightly] louder
= [it|this|the {sound}] [should|must|needs to|can] be [louder|a bit louder|a lot louder]
= [i|we] [want|need|would like] [it|this|the {sound}] [louder|a little louder|up]
= [that|this|the {sound}] is [way|far|much|a bit|a little|so] too [quiet|low|soft]
= i [can't|cannot|don't] hear [the {sound}|you|it well|this]
= [get|have] it louder
= give me more [volume|sound]
[bring|push|pump|put] up the {sound}( a bit| a little| a notch)
[bring|pump|push|put] it up( a bit| a little| a notch)
= up a [notch|bit]
""",
    "volume.down": """
[turn|push|bring|tone|take] [the|this|that] [{sound}|song|tune|track] down( a bit| a little| a lot)
[cut|drop|reduce|decrease] [the|this] {sound}( a bit| a little| some)
= [quieter|less volume|less sound] [please|now|for me]
= [way|far|a lot|a tad|slightly] quieter
= [it|this|the {sound}] [should|must|needs to|can] be [quieter|a bit quieter|less loud]
= [i|we] [want|need|would like] [it|this|the {sound}] [quieter|a little quieter|down]
= [that|this|the {sound}] is [way|far|much|a bit|a little|so] too loud
= [get|have] it quieter
= i can't [think|talk|sleep] with this noise
= [the kids|the baby|everyone] [is|are] asleep so [keep it|turn it] down
[tone|bring|take|put] down the {sound}( a bit| a little| a notch)
[bring|put|take] it down( a bit| a little| a notch)
= down a [notch|bit]
""",
    "volume.mute": """
[mute|silence|hush] [it|this|everything|the tv|the speaker|the speakers]( please| now)
[cut|kill|shut off|disable] the sound
= [sound|audio] [off|muted] please
= i [want|need] [silence|quiet|it muted]
= shut up
= [total|complete] silence
[turn|switch] [the audio off|off the audio]
= hush
""",
    "volume.unmute": """
[unmute|un-mute] [everything|the tv|the speaker|the speakers|it]( please| now)
[turn|put|bring] [the|my] [sound|audio] [back|on again|back on]
[enable|activate] the [sound|audio]
= [sound|audio] [again|on again|on please]
= i want [the sound back|to hear the sound again|the audio on]
[stop|end|undo] [muting|the mute]
""",
    "reminder.add": """
[remind|alert|notify|nudge|ping] me [at {rtime}|{rday}|in {dur}|{rday} at {rtime}] to {task}
[remind|alert|notify|nudge] me to {task} [at {rtime}|{rday}|in {dur}|{rday} at {rtime}|at {rtime} {rday}]
[make|put|create|set up] [a|one] reminder [at {rtime}|for {rtime}|{rday}|in {dur}] to {task}
[make|put|create|set up|schedule] a reminder to {task} [at {rtime}|for {rtime}|{rday}|in {dur}|{rday} at {rtime}]
= i [have to|need to|should|must|want to] {task} [at {rtime}|{rday}|in {dur}|{rday} at {rtime}] [remind me|don't let me forget|so tell me then]
= i [mustn't|can't|shouldn't] forget to {task} [at {rtime}|{rday}|{rday} at {rtime}]
= i [want|would like|need] a reminder [at {rtime}|for {rtime}|{rday}|in {dur}] to {task}
= i [want|would like|need] to be reminded [at {rtime}|{rday}|in {dur}] to {task}
= [at {rtime}|{rday}|in {dur}] i [have to|need to|must|should] {task}( so remind me)
= reminder [for {rtime}|{rday}|in {dur}|at {rtime} {rday}] to {task}
= reminder to {task} [for {rtime}|in {dur}|{rday} at {rtime}]
[make me|get me to] {task} [at {rtime}|{rday}|in {dur}]
[see to it|ensure] that i {task} [at {rtime}|{rday}|{rday} at {rtime}]
[make sure|ensure] i [remember|don't forget] to {task} [at {rtime}|{rday}|in {dur}|{rday} at {rtime}]
help me [not forget|think of it] to {task} [at {rtime}|{rday}]
[let me know|give me a shout|say something] [at {rtime}|in {dur}|{rday}] that i [have to|need to|should] {task}
""",
    "reminder.list": """
= what [mustn't|can't|shouldn't] i forget( today| tomorrow)
= is there something i [shouldn't|mustn't] forget
= what do [we|i] need to do [today|tomorrow]
= [what|which] reminders [are there|are left|are coming up|have i got|did i add]
= what [have i|do i have|did i want] to remember( today| tomorrow)
= [do|did] i have [reminders|any reminder|something to remember]
= have i [any reminders|forgotten anything]
[show|give|read|tell] me [all my|the|all the] reminders
= all [my |the |]reminders( please)
= what's [coming up|next] on my reminders
[go through|check|look at|open] [my|the] reminders
= what are you going to remind me of
= what [must|shall|do] i [remember|think of|keep in mind]( today| tomorrow)
= what am i supposed to [remember|do] [today|tomorrow]
""",
    "list.add": """
[type|scribble|mark|put|take] down {item} on [the|my|our] {list}
= i [need|would love] {item} [to be |]on [the|my|our] {list}
= {item} [comes|is to go|should come] [on|onto] [the|my|our] {list}
[add|put|write|note|get|save|drop|list] {item} [to|on|onto|down on] [the|my|our|that] {list}
[add|put|write] {item} to {list2} [please|too|as well]
= {item} [must|should|needs to|has to] [be|go] on [the|my|our] {list}
= [the|my|our] {list} [should have|must have|gets|is missing] {item}
= [i'd like|i need|we need|we want] {item} on [the|my|our] {list} please
= [please|also] {item} [on|onto] [the|my|our] {list}
= new on [the|my|our] {list} {item}
= {list} {item}
= for [the|my|our] {list} {item}
[place|enter|register|remember] {item} on [the|my|our] {list}
= [the|my|our] {list} should say {item}
[mark|scribble|type] {item} on [the|my|our] {list}
[extend|complete] [the|my|our] {list} with {item}
""",
    "list.add.shop": """
[get|pick up|shop for|bring home|grab|fetch] {item}( please)
[get|buy|bring] [us|me] [more|some more|again] {item}
= also [buy|get] {item} [at the shop|at the store|next time]
= please [buy|get] {item} [at the shop|at the store|when you shop]
= [it'd be good to|we could|someone should|i have to|let's] buy {item}
= we're [going to|about to] buy {item}
= [theres|there are|we've got|i've got] [hardly any|almost no|barely any|no more] {item}( left)
= [hardly any|almost no|no more] {item} [left|here|at home]
= when [we|you|i] next [shop|go shopping] [buy|get] {item}
= [i|we] [need|want|could use|would like] [to buy|to get] {item}
= [i|we] [need|could use|have to get] {item} from the [shop|store|supermarket]
= [i|we] [have|got] no {item}( any more| anymore| at home)
= [we|i] [must|should|have to|need to] [get|pick up|order|bring] {item}( from the store| when shopping)
= {item} [is|are] [out|gone|missing|almost gone|running out|used up]
= the {item} [ran out|is used up|is running low|is almost empty]
= [we're|we are] [missing|lacking|almost out of|nearly out of] {item}
= [we're|i'm] [going to need|in need of] {item}
= [we|i] [used up|finished|ate] the {item}
= [we|i] don't have [any {item}|{item}]( left)
= someone [drank|ate|used up] the {item} so buy more
= remember to [buy|get|pick up] {item}
= don't let us forget {item} at the [shop|store|supermarket]
= {item} for shopping
[buy|get|pick up|shop for] {item} [next time|when we shop|at the store|at the supermarket]
""",
    "list.remove": """
[cross|scratch|rub|tick] {item} out on [the|my|our] {list}
[take|remove|delete|erase|drop|get|clear|wipe|cut] {item} [off|from|off of|out of] [the|my|our|that] {list}
= {item} [can go|can come|should go|must come] off [the|my|our] {list}
= [i|we] [have|got|bought] {item} so [take|remove|get] it off [the|my|our] {list}
= [i|we] [don't need|don't want] {item} [any more|anymore] on [the|my|our] {list}
= [remove|without] {item} on [the|my|our] {list}
[mark|check|tick] {item} as [done|bought|finished] on [the|my|our] {list}
= [the|my|our] {list} without {item}
""",
    "list.query": """
= [what|which things|which items] [is|are|stands|stand] on [the|my|our] {list}
= what [does|is] [the|my|our] {list} [say|look like]
= [do|does] [we|the list] have anything on [the|my|our] {list}
= [can|could] [i|we] [see|hear] [the|my|our] {list}
[read|tell|give|show|name] me [everything|all|what is|what's] on [the|my|our] {list}
[look at|look up|display|recite] [the|my|our] {list}
= what [must|should|do] [i|we] [buy|get] at the [shop|store|supermarket]
= is [the|my|our] {list} [empty|long|full]
[check|see|look] [what's|what is] [on|written on] [the|my|our] {list}
= what have [i|we] got on [the|my|our] {list}
= [the|my|our] {list}
= let me have a look at [the|my|our] {list}
[have a look at|check over] [the|my|our] {list}
""",
    "list.clear": """
[clear|empty|wipe|erase|delete] [the|my|our] [whole|entire|complete] {list}
[throw|get] [away|rid of] [the|my|our] {list}
[scrap|trash|blank] [the|my|our] {list}
= [the|my|our] {list} can be [deleted|cleared|emptied|wiped]
= [everything|all of it] off [the|my|our] {list}
= nothing should be on [the|my|our] {list}
[get|clear] [everything|all things] [off|from] [the|my|our] {list}
""",
    "query.temp": """
= [what|which] temperature [is|has] [it in the {room}|the {room}]
= [tell me|say|show me|read me] the {roomadj} temperature
= how [warm|cold|hot] [does it get|has it got|is it right now] {inroom}
= is it [too warm|too cold|too hot|warm enough|freezing] {inroom}( or not)
= the temperature {inroom} [please|now]
= how many degrees does the {room} have
= what does it say on the {roomadj} thermometer
[measure|get|look up] the temperature {inroom}
= how's the temperature {inroom}
= i want to know [the temperature|how warm it is|how cold it is] {inroom}
= degrees {inroom}
= is the {room} [warm enough|freezing|too warm|too cold]
= how [warm|cold|hot] [has the {room} got|was it {inroom}|is it getting {inroom}]
[check|see|tell me] if it's [warm|cold|hot] {inroom}
""",
    "query.humidity": """
= [how|what] is the [humidity|air humidity|moisture] {inroom}
= [show|read] me the humidity {inroom}
= [tell me|give me|show me] how [humid|damp|dry] it is {inroom}
= is the {room} [humid|damp|dry|too humid|too damp]
= what's the humidity [level|like] {inroom}
= humidity [please|level|now] {inroom}
= i want to know the humidity {inroom}
check the {roomadj} humidity
= how [moist|wet] is the air {inroom}
""",
    "query.light": """
= [is|are] the {light} [still |][on|off|burning|lit]( {inroom})
= [is|are] the {light} {inroom} [on|off|still on]
= [is|are] there [any |some |]light[s|] on {inroom}
= [did|have] [i|we|you] [leave|left|turn off|turned off] the {light} {inroom}
= did [we|you|the kids] leave the {roomadj} {light} on
= do you know if the {light} is on {inroom}
[look|see|find out] if the {light} [is|are] [on|off] {inroom}
[look|see|find out] if the {roomadj} {light} [is|are] [on|off]
= what's the {light} doing {inroom}
= {light} status {inroom}
= [has|did] [someone|anyone|anybody] [left|leave] the {light} on {inroom}
= the {light} [is|are] on {inroom} right
= did i [switch|turn] the {light} off {inroom}
= did [we|you] [switch|turn] the {roomadj} {light} off
""",
    "query.weather": """
= [what|how] [will|is] the weather [{wday}|be {wday}|be like {wday}]
= [is|will] [there|there be] [rain|snow|sun|wind|fog] {wday}
= [will|is] it [rain|snow|storm|freeze|raining|snowing]( {wday})
= what [temperature|weather] [will we have|can i expect|do we get] {wday}
= is [it|the weather] [nice|good|bad|sunny|rainy|ok] {wday}
= [weather|forecast|weather report|outlook] [please|for {wday}|{wday}]
[show|read|say] [me |]the [weather|forecast]( for {wday})
= [should|do|must] i [wear|take|bring] [a coat|a jacket|boots|an umbrella|a scarf]( {wday})
= how does the weather look( {wday})
= what does the weather look like( {wday})
= how [rainy|sunny|windy|cloudy] will it be {wday}
= can we [have a barbecue|eat|go] outside {wday}
= tell me if it [rains|will rain|snows|will be sunny]( {wday})
""",
    "query.time": """
= [can|could] you [say|give me|tell me] the time( please)
= [what|which] hour is it
= the time [please|now]
= time [now|check|right now]
= what time do [we have|you have]
= i [need|want] to know [the time|what time it is]
= [do you know|i wonder] what time it is
= how late [are we|is it now]
[read|check] the clock
""",
    "query.date": """
= [what|which] [weekday|day|date] [do we have|is it today|have we]
= the date [please|today]
= [can|could] you tell me [the date|what day it is|today's date]
= i [need|want] to know the date
= today is what day
= what's the day( today)
= is it [monday|tuesday|friday|sunday]( today)
[read|say|check] the date
""",
    "query.lock": """
= [is|was] [the|our|that] {door} [locked|unlocked|open|closed|shut]( now| yet)
= [did|have] [i|we|you] [close|closed|shut|forget to lock] the {door}
= does the {door} stand open
= [is|has] the {door} been [locked|closed]
[look|see|find out] if the {door} is [locked|closed|shut|open]
[check|verify] that the {door} is [locked|closed]
= [how's|how is|what about] the {door}
= the {door} is locked right
= i forgot if i locked the {door}
= do you know if the {door} is [locked|open]
""",
    "lock.lock": """
[lock|bolt|secure|shut and lock] [my|our|that] {door}
[put|turn] the lock on the {door}
= the {door} [must|needs to|has to] be locked
= i need the {door} locked( please)
= [lock up|locked please] the {door}
= [you|we] [should|can] lock the {door}
don't leave the {door} unlocked
[have|get|keep] [my|our] {door} [locked|bolted|secured]
= i [need|would like|want to have] [my|our] {door} [locked|bolted]
""",
    "lock.lock.all": """
[bolt|secure|lock up] [all|every one of the|all of the] doors
[close|shut] and lock all( the) doors
= [every door|all the doors|everything] [should|must] be locked
[lock|secure] [our|the] home
""",
    "lock.unlock": """
= {door} [open the lock|unlock it]
[unlock|unbolt|unlatch] [my|our|that] {door}
= the {door} [must|needs to|has to|can] be unlocked
= i need the {door} unlocked( please)
open the lock [on|of] the {door}
= [you|we] [should|can] unlock the {door}
= [someone|the postman|my friend] is at the {door} so unlock it
don't keep the {door} locked
= {door} [unlocked please|unlocked now]
[have|get|keep] [my|our] {door} unlocked
""",
    "device.on": """
[turn|switch|put|power|start] [my|our|that] {device} on
[turn|switch|power] on [my|our|that] {device}
[start|launch|boot] [my|our|up my] {device}
= the {device} [must|needs to|has to|should] be [on|running]
= i need the {device}( on| running)( now)
= {device} [please|on please|start]
make the {device} [run|go|start|work]
= [let's|we can] [start|run|use] the {device}
set the {device} going
""",
    "device.off": """
[turn|switch|put|power] [my|our|that] {device} off
[turn|switch|power] off [my|our|that] {device}
[stop|end|cut|quit|halt] [my|our|that] {device}
= the {device} [must|needs to|has to|can] [be|go] off
= i don't need the {device}( any more| anymore| now)
= no [more |]{device}( please)
= [we're|i'm] done with the {device}
= {device} [stop|off please]
[let|have|get] the {device} to stop
= the {device} has to stop
""",
    "query.device": """
= [is|was] [my|our|that] {device} [still |][on|off|running|going]
= [did|have] [i|we|you] [leave|left] [my|our|the] {device} [on|running]
= [has|did] [someone|anyone] [turned|turn] [off the {device}|the {device} off]
= do you know if the {device} is [on|off|running]
[look|see|find out] if the {device} is [on|off|done|still on]
= is the {device} [ready|through|busy]( yet)
= [how's|how is] the {device}( doing)
= what is the {device} [doing|up to]
= [is|does] the {device} [working|work|run]
= the {device} is [on|off] right
""",
    "scene.night": """
= [i'm|we're|we are] [ready|about to go] [for bed|to bed]
= [i|we] [want|need|have] to [sleep|go to sleep|go to bed]( now)
= [good night|night]( to you| my friend| sleep tight)
= [off|up|straight] to bed( now| we go)
= [it's|it is] [bedtime|time to sleep|time for bed|late so good night]
= [let's|we] [sleep|go to sleep|go to bed|turn in]( now)
[start|activate|run|set|enable] the [night|bedtime|sleep] [scene|mode]
= [see you|until] tomorrow morning
= [turning in|going to bed|falling asleep]( now)
= the house should [sleep|go to sleep]
""",
    "scene.morning": """
= [it's time|time|it is time] to be up
= i [got|have got] up( now| just now)
= [i|we] [woke up|got up|got out of bed]
= [i'm|we're|i am] [wide awake|awake now|out of bed|ready for the day]
= [good morning|morning]( to all| world| my friend| sunshine)
= [time|it's time] [to rise|to start the day|for the day]
[start|activate|run|set|enable] the morning [scene|mode|routine]
= [the day|a day|my day] [begins|starts]
= everyone is [awake|up|out of bed]
= up we get
= [let's|we] get up
""",
    "scene.away": """
= [i'm|we're|we are] [gone|leaving|going|heading out|driving off] [for the day|for today|until tonight|for the weekend|now]
= [i|we] [have|need] to [go|leave|head out]( now)
= [i'm|we're] [taking|going for] [a trip|a walk|a holiday]
= [bye|goodbye|so long|take care]( now| then| home| dear house)
[start|activate|run|set|enable] the [away|leaving|holiday|vacation] [scene|mode]
= [nobody|no one] [will be|is] [home|at home|here]( today| now)
= [i'm|we're] [out|off to town|off to the shops|driving to work]
= we [leave|are leaving] for [the weekend|a week|holiday]
= everybody [left|is leaving]( the house)
= catch you later
= [i'm|we're|i am] [off|on my way|heading|going] to [the gym|town|the airport|church|the office|a party|the cinema]
= see you [soon|in a bit|next week|on monday|in two days]
""",
    "scene.home": """
= [i'm|we're|i am] [in|back now|back here|at home|at home now|home from work|home from school]
= [i|we] [came back|got in|returned|made it home]( now| just now)
= [i|we] just [arrived|returned|came in|walked in]
= [hello|hi|hey] [i'm|we're] [home|back]
[start|activate|run|set|enable] the [home|arrival] [scene|mode]
= [the kids|everyone|the whole family] [came home|got home|are back|got back]
= back [home|at home|again]( now| at last)
= good to be [home|back]
""",
    "scene.named": """
[start|run|load|use|enable|set|activate] [a|the|my|our] {scene} [mode|scene|setting]
[turn|switch|put] [the house|the room|everything] [to|into|in] {scene} mode
[change|go|switch] to [the |]{scene} [scene|setting]
= [we|i] [want|need|would like] [the |]{scene} [scene|mode]
= [we're|i'm] [going to|ready to] have {sceneact}
= [let's|we'll] have {sceneact}( now)
= [we|i] [want|need] the [lights|house|room] [ready|set] for {sceneact}
= {scene} [mode|scene] [on|now|please]
= [now|next] {sceneact}
make the [house|room] [ready|nice] for {sceneact}
""",
    "cancel": """
[leave|let] it [alone|be|at that|for now]
= [let's|we can|just] leave it [alone|there|at that]
= wait [wait|no|stop|a bit|please don't]
= [oh no|oops|whoops|argh] [stop|cancel|forget it|never mind|wait]
= [please|just|oh] [stop|leave it|drop it|forget that]( please| now)
= [cancel|ignore|forget|undo|scratch] [this|that|it|that one|the last thing]( please| now| again)
= [i|we] [don't|didn't] want [this|it|that|anything]( any more| now| after all)
= [i|we] [take it back|changed our mind|meant something else|said it wrong]
= [not|no not] [this|that one|like that|yet]
= never mind [then|me|now|about that|it]
= don't [bother|worry about it|mind me|do anything]
= [it's|that's] [nothing|not it|not what i wanted|all wrong|a mistake]
= that isn't [right|it|what i meant]
= [hold it|hang on|stop now|halt|enough]
= no no [no|stop|wait|never mind]
= you got [me|it|that] wrong
""",
    "clarify.time": """
[wake|get] [me|us|the kids] up [again|some time|later|please]
[set|put|make|create|schedule] [an|another|the|one more] alarm( please| for us)
= [i|we] [want|need|would like] [an alarm|to be woken|a wake up call]( please)
= i [must|need to] [get up|wake up|be up] early( {aday})
= [can|may] i have an alarm
= wake up call( please| {aday})
[wake|get] me up {aday} please
[set|add] another alarm {aday}
[move|shift|change|adjust] [the|my] alarm( please| {aday})
= an alarm( please| {aday})
""",
    "clarify.duration": """
[set|start|make|run|begin|create] [a|another|one|my] timer( please| now| for us)
= [i|we] [want|need|would like] [a|another] timer( please| now)
= a timer( please)
= [can|may] [i|we] [have|get] a timer( please)
[set|start|run|make] a timer for the {tname}
[make|run|begin] a {tname} timer
= {tname} timer( please)
= a {tname} timer please
[start|begin|run] [counting|the clock|a countdown]
set a timer for [some time|a bit|a few minutes|a little while]
""",
    "clarify.text": """
remind me [at {rtime}|{rday}|in {dur}|{rday} at {rtime}]( please)
[set|make|create|add|put] [a|one|another] reminder [at {rtime}|for {rtime}|{rday}|in {dur}]
[make|create|add] [a|one|another|the] reminder( please| for me)
= [i|we] [want|would like|need] [a|another] reminder [{rday}|for {rtime}|in {dur}|please]
= a reminder( please| at {rtime}| {rday}| in {dur})
= remind me [please|again|of it|of that|about something|about this]
= [i|we] [want|need] to be reminded [at {rtime}|{rday}|in {dur}]
= don't let me forget [it|that|something|this]
= in {dur} remind me
= at {rtime} remind me( please)
""",
    "clarify.item": """
[add|put|write|get|note] [something|it|this|that|one more thing|another thing|stuff] [to|on|onto] [the|my|our] {list}
[add|put] [one|another] [item|thing|entry] [to|on] [the|my|our] {list}
[remove|delete|take|cross|get] [something|it|this|one thing|an item] [off|from] [the|my|our] {list}
= [i|we] [want|need|have] to [add|put] [something|it|this] [to|on] [the|my|our] {list}
= [something|one more thing|this|it] [to|on] [the|my|our] {list}
[write|note] [it|this|that] down on [the|my|our] {list}
[edit|update|extend] [the|my|our] {list}
[rework|revise|fix|touch up] [the|my|our] {list}
[make|do] [a change|some changes] [to|on] [the|my|our] {list}
= i [want|need] to change something on [the|my|our] {list}
""",
    "clarify.device": """
[turn|switch|power|put] [it|that|this|the thing|them|something|that one|this one|the device|the machine] [on|off]( please| now| again)( {inroom})
[turn|switch|power] [on|off] [it|that|this|the thing|them|something|that one|this one|the device|the machine]( please| now| again)( {inroom})
[start|activate|deactivate|enable|disable|kill|shut off|shut down|run] [it|that|this|them|the thing|that thing|that one|this one|the device]( please| now| {inroom})
[open|shut|raise|lower] [it|that|this|them|that one|this one]( please| {inroom})
= [it|that|this|this thing|the thing] [should|must|needs to|has to|can] [be|go|come] [on|off]( now| again)
= [i|we] [want|need|would like|would love] [it|that|this|them|this thing|the other one] [on|off|running|to be on|to be off]
= [is|was] [it|that|this|the thing|this thing|the other one] [on|off|still on|running]( now)
= [on|off] [please|now|again|with it|with that]
= [it|that|this] [on|off]( please)
= [could|can] [it|this|that] be [on|off|turned on|turned off|switched on|switched off]( please)
have [it|that|this|the thing] [turned|switched] [on|off]
[leave|keep|get] [it|that|this|the thing] [on|off|running]
= [let's|we should] [turn|switch] [it|that|this] [on|off]
= did [i|we|you] [turn|switch] [it|that|this] [on|off]
""",
    "clarify.color": """
[alter|adjust|pick|choose] [the|a] [color|colour]( of the {light})( {inroom})
[set|make|turn|switch] the {light} [a different|another|some other|a nicer|a new] [color|colour]( {inroom})
= [i|we] [want|need|would like|would love] [a different|another|some other|a new] [color|colour]( {inroom})
= [a new|some other|a nicer] [color|colour]( please| {inroom})
= the [color|colour] [is wrong|isn't right|is ugly|should be different]( {inroom})
= [can|could] [we|i] have [a different|another] [color|colour]
give the {light} [a|another] [color|colour]
[turn|put|switch] the {light} [to|into] [a different|some other|a new] [color|colour]( {inroom})
""",
    "clarify.temp": """
[set|change|adjust|alter|fix|program|regulate] [the|my] {heat}( please| {inroom})
[set|change|adjust|alter|regulate] the {roomadj} {heat}( please)
= [i|we] [want|need|would like] [a different|another|a new] temperature( {inroom})
= [another|a new|some other] temperature( please)( {inroom})
= the {heat} [isn't|is not] [right|good|set right]( {inroom})
= the {roomadj} temperature is [wrong|not right]
= [can|could] you [set|change] the {heat}( {inroom})
""",
    "clarify.door": """
[lock|unlock|bolt|secure] [it|that|this|this one|that one|one of them|the other one|the other door]( please| now| again)
[lock|unlock] [a|this|that|my|our|some] door( please| now| again)
= [is|was] [it|that|this|the door|that door|the other one] [locked|unlocked]( now| yet)
= [did|have] [i|we|you] [lock|locked|unlock] [that|the door|that door|it already]
= [i|we] [want|need] [it|that|this door|the other door] [locked|unlocked]
= [it|the door|that door] [should|must] be [locked|unlocked]
[see|check] if [it's|the door is|that's] locked
= the door( please)
""",
    "clarify.what": """
= [like|as] [the other day|this morning|last week|the last one|usual|i always do]
= [just|same] like [the other day|this morning|i said|usual]
= {gibberish} [it is|then|and so on]
= {gibberish} [in|on|at] the {gibberish}
= {gibberish} {gibberish} {gibberish} {gibberish}
= [do|try|change] the [thing|usual|other one] [please|for me|now|again]
= [please|can you|just|um] [do|change|fix|make] [it|that|this|something|anything]( please)
= [the|that|this|some|any] [thing|one|stuff|bit|part|stuff there]( there| again| please)
= [make|try|give me|have|get] [something|anything|whatever|the usual|the other thing]( {inroom}| please| now)
= [make|set|do|have] [it|this|that|things] [right|nicer|better|properly|as usual|the way i like it|like before|like yesterday]( {inroom})
= [i|we] [want|need|would like] [it|that|this|something|the other|more|help|the usual]( {inroom}| please| now)
= [a bit|a little|much|some|no] [more|less]( please)
= [more|less] [please|of it|of that]
= [and|but|so|or|well|um|uh] [then|the|that|in the {room}|it|this|what]
= [in|on|at|from|to] [the|it|that|this|there]
= [in|to|from|at|for] the {room}
= {inroom} [please|again|too|now]
= [yeah|ok|okay|sure|right|fine]( please| then| do it| go on)
= [again|once more|one more time|the same]( please)
= [could|would|will|should] [you|we|i]( please| just| maybe)
= {gibberish} [is|was|a|my|to|for|with] {gibberish}
= [my|a|this|in|on] {gibberish}( please)
= {gibberish} [please|now|again|thanks]
= {gibberish} {inroom}
= [do|make|get|set] {gibberish}
= [not sure|no clue|no idea|who knows|dunno|hmm]( really| now)
= [what|how|why|where|which]( one| then| now)
""",
    "unsupported": """
sing [happy birthday|along|a duet|louder|with me|for the kids]
= can you sing [well|at all|opera|along]
[look|browse|hunt] [for|up] {topic} [on the web|on the internet|in the encyclopedia]
[download|install|get] [games|the game|a film|some apps|music]
[speak|talk] [in french|in german|in spanish|slower|louder|like a pirate]
= what should i [not miss|not eat|not say]
order [some|me some|us some|a|me a|us a] [pizza|sushi|tacos|curry|burgers|taxi|cab|flowers|books|tickets]( for me| online| for tonight)
[get|have] [a pizza|some food|a parcel|flowers|a taxi] delivered( to me| here)
[book|reserve|arrange] [a|me a|us a] [flight|trip|car|rental car|massage|haircut|doctor's appointment|cinema seat]( to {city}| for two| tomorrow)
= [i|we] [want|need|would like] [a|to book a|to order a|to get a] [pizza|taxi|train ticket|haircut|hotel room]( to {city}| please)
[call|ring up|phone up|dial|get hold of|reach|video call] [{person}|my [mum|dad|aunt|wife|teacher|lawyer|landlady]|the [doctor|vet|bank|garage|school|shop]]( please| for me| now)
= [i|we] [want|need|would like] to [call|phone|ring|text|talk to|speak with|email] [{person}|my mum|my dad|the doctor|the bank]
= put me through to [{person}|the office|my mother|the doctor]
[text|write|tell|email|message] {person} [that i love her|i'm on my way|to call me|that dinner is ready|happy birthday|we're late]
[write|draft|answer|reply to] [an email|the email|a text|a letter|her message|his mail]( to {person})
[send|give] [{person}|my mum|my boss|the bank] [a call|a message|an email|a note|my regards]
= [any|are there any|do i have any|have i got] [new |][messages|emails|mails|calls|texts]( from {person}| for me)
= [did|has] {person} [call|called|write|written|text|texted]( me)( today)
tell [me|us] [a joke|a good joke|another joke|a story|a fairy tale|a riddle|some trivia|the news|an anecdote]
= [do you know|have you got|i want to hear] [a joke|a good joke|a story|a riddle|a fun fact|a secret]
= make me laugh
[hum|whistle|rap] [me |us |][something|a tune|happy birthday|a lullaby|about {topic}]
[do|perform] [a dance|a magic trick|an impression|some maths|my taxes]
= [who|what] [is|was] [the|a] [president|king|chancellor|owner|capital|flag|leader|mayor] [of|in] [{country}|{city}]
= [which|what] [country|city|continent|planet|animal] is the [biggest|smallest|oldest|richest|fastest|hottest]
= [how|where|when|why] [do|does|did|can|is|are] [{topic}|people|birds|fish|planes|trees] [work|live|come from|sleep|fly|grow|die|exist]
= how [tall|old|big|high|heavy|fast|long|far away|rich|deep] is [{topic}|{person}|{city}|{country}|the eiffel tower|mount everest|a giraffe|a car]
= how [many|much] [people|cars|planets|money|bones|countries|stars|days] [are there|are in a year|live in {country}|do i have|does {person} have]
= what's the [population|weather history|area|currency|president|largest city|time difference] of {country}
= [who|when|where] [invented|discovered|wrote|built|won|started|directed] [{topic}|the telephone|the light bulb|hamlet|the world cup|the war]
= why [is|are|was] [{topic}|the sky|water|gold|time|a black cat|the economy]( called| made of| important| so big)
= [tell me|i want to know|i'd like to know|do you know|read me] [something|everything|more|a bit] about [{topic}|{country}|{person}|{city}]
= [what|how] about {topic}
= what do [you|people|they] [know|say|think] [about|of] [{topic}|{person}|{country}|politics]
[explain|describe|show|teach|define] [me |us |]{topic}( to me| please| in simple words)
= {number} [plus|minus|times|divided by|multiplied by|over] {number}
= [what|how much|how many] [is|are|makes|make] {number} [plus|and|minus|times|divided by|percent of|into] {number}
[add|multiply|subtract|sum up|work out|compute] {number} [and|by|from|plus|times] {number}
[convert|turn|change] {number} [miles|pounds|euros|dollars|inches|feet|cups|ounces] [to|into] [kilometers|kilos|dollars|yen|meters|liters|grams]
= how many [meters|grams|euros|minutes|kilos] [is|are|in|make] {number} [miles|pounds|dollars|days|feet]
= what's [hello|goodbye|water|love|house|thank you|cheese] in [french|german|spanish|italian|japanese|russian|polish]
translate [please|water|i love you|my name|the sentence|where is the station] [to|into] [french|german|spanish|italian|russian|japanese]
= [can|do] you [speak|understand|know] [french|german|spanish|italian|russian|japanese|any other language]
[search|browse|look|look up] [for |][{topic}|{person}|{city}|cheap flights|a dentist|new shoes] [online|on the web|on wikipedia|on youtube]
[google|wikipedia] [{person}|{city}|{country}|cheap flights|my symptoms]
[show|find|get] me [{topic}|pictures of {topic}|a picture of {city}|a map of {country}|a video about {topic}|the way home|the nearest bank]
[navigate|drive|bring|guide|direct] me [to|towards] [{city}|the airport|the station|work|the next gas station|my hotel]
= [how|what's the way|which way] [do i get|do we drive|can i go|is it] to [{city}|{country}|the airport|the station|work]
= how [long|far|many miles] [does it take|is it|is the drive|is the flight] to [{city}|{country}|work|the airport]
= [is there|how's|how bad is|any] [traffic|a jam|the traffic]( on the motorway| to {city}| to work| right now)
= [when|what time|how often] [does|do|is|will] the [next |last |][bus|train|tram|ferry|plane|post|shop|museum] [leave|go|come|open|close|arrive]( to {city})
= [where|how far|how long] is the [bus|train|tram|plane|post office|next bus stop|library]( to {city})
= is [the bank|the post office|the museum|the shop|the gym|the bakery] [open|closed]( today| on sunday| now)
= [who|which team] [won|lost|scored|plays|is leading]( the [game|match|final|cup|race])( last night| yesterday| today)
= [did|does|will] [{city}|{country}|my team|our team|the team] [play|lose|score|beat {country}]( today| yesterday| tonight)
= [what's|what is|give me|tell me] the [score|result|table|latest news|exchange rate|stock market|share price|bitcoin price|horoscope|lottery numbers]( today| of the match)
= [should|shall|can] i [buy|sell|eat|wear|marry|study|learn|invest in] [{topic}|a boat|more vegetables|a suit|a dog|gold|spanish]
= what [should|shall|can] [i|we] [do|cook|buy|see|drink|wear|say|give {person}]( for dinner| tonight| today| tomorrow)
= [recommend|suggest] [me |us |][a film|a good book|a hotel in {city}|a present|a recipe|something to watch|a place to eat]
= [i need|find|show me|do you have|look up] a [good |nice |][recipe|cake recipe|restaurant|plumber|dentist|babysitter|hotel]( for {item}| in {city}| nearby)
= how [do|can|should] [i|you|we] [cook|bake|boil|fry|cut|store|grow|make] {item}
= how [do|can|should] [i|you|we] [fix a bike|lose weight|learn chess|remove a stain|change a tyre|sleep better|save money]
= [is|are] {item} [healthy|vegan|good for me|expensive|bad for dogs|in season]
= how [many calories|much sugar|much protein|much] [does|do|is in|are in] {item}( have| cost)
[write|compose|make|create|invent] [me |us |][a poem|a rap|a letter|a speech|an email|a joke|a shopping app|a program|code]( about {topic}| for {person}| for my boss)
[help|assist] me with [my essay|my maths|my tax return|my cv|chess|{topic}]
[correct|proofread|check|summarize|translate] [my letter|my text|this email|this article|my spelling|the page]
[play|start] [a game|a quiz|hangman|tic tac toe|poker|monopoly|sudoku]( with me| with us)
= [i want|let's|we want|would you like] to [play|have] [a game|chess|a quiz|poker|cards]( with you| together)
[roll|throw|flip|toss|spin] [a die|the dice|two dice|a coin|the bottle]( for me)
[pick|choose|give me|think of|say] [a|any|a random] [number|card|colour name|letter|word]( between {number} and {number}| for me)
= [what's|what is|where is|tell me] my [ip address|wallet|passport|pin|weight|blood pressure|bank account|schedule|next meeting|car]
= [do i have|what|when are my|cancel my|move my] [meetings|appointments|plans|events]( today| tomorrow| are today)
[put|add|enter|move|cancel] [a meeting|an appointment|a dentist visit|the meeting|lunch] [in|to|into|in] my [calendar|diary]( with {person}| tomorrow)
[pay|transfer|send|lend|owe] [{person}|my landlady|the electrician|the bank] [some money|{number} euros|{number} dollars|the rent]
= how much [do i owe {person}|did i spend|is in my account|is a ticket to {city}|does a car cost]
[sell|order|trade] [a new [phone|laptop|car|sofa]|some [shares|stocks|bitcoin]|concert tickets|train tickets to {city}]( for me| online)
[take|make|shoot|record] [a |me a |][photo|picture|selfie|video|voice memo|screenshot]( of {topic}| of us| please)
[open|start|close|launch|quit|go to] [the |][browser|facebook|instagram|whatsapp|youtube|netflix|camera app|calculator|email app|maps]
[post|share|upload|tweet|like] [this|a picture|my photo|something|a story]( on [facebook|instagram|twitter|tiktok])
[update|install|restart|reboot|reset|hack|charge|fix|repair] [my |the |][phone|laptop|computer|printer|router|tablet|app|system|wifi|internet]
= [why is|is|how fast is] [the|my] [wifi|internet|phone|computer|laptop] [so slow|down|broken|working|charged]
[connect|pair|link] [my phone|the headphones|the speaker|my watch]( to [the wifi|bluetooth|the car])
[turn|switch] [on|off] [the |my |][wifi|internet|bluetooth|phone|computer|car|burglar alarm|flight mode]
[print|scan|copy|fax|sign] [this|the contract|my ticket|the letter|a photo|ten pages]
[iron|wash|fold|mend|sew] [my|the] [shirt|trousers|clothes|socks|curtains|hair|laundry]
[clean|tidy|sweep|mop|scrub|dust] [my |the |][room|shoes|car|windows|floor|toilet|house|bath tub]
[cook|make|bake|fry|serve|bring] [me |us |][breakfast|lunch|some soup|an omelette|a cake|pancakes|a sandwich|a drink|some tea]
[feed|walk|brush|wash|call] [the|my] [cat|dog|fish|horse|hamster|baby]
[water|cut|plant|mow|rake] [the|my] [lawn|grass|hedge|flowers|plants|trees|leaves]
[fetch|bring|hand|pass|carry|hold] [me |us |][my shoes|a beer|the newspaper|my bag|a towel|the remote]
[open|close|lift] [the|my] [fridge|bottle|car boot|safe|drawer|letter|tin]
[park|wash|refuel|sell|drive|unlock] [the|my] car
= [drive|take|bring|fly] [me|us|the kids] to [{city}|school|the airport|the beach|{country}]
= [where|who] is [{person}|my wife|my phone|my wallet|the cat|the remote|everyone]( now| right now)
= [where are|find|i can't find|i lost] [my|the] [keys|phone|glasses|shoes|wallet|remote]
= [when|where] [was|did|will|is] {person} [born|die|come|arrive|marry|live|work]
= [is|was|did] {person} [dead|married|famous|american|in {city}|a singer|win]
= [will|is] [the world|the stock market|the war|the election] [end|crash|over|fair]( soon)
= what [happens|happened|is happening] [in {country}|in {city}|today|in the world|to {person}]
= [read|give|tell] me [the |today's |][headlines|newspaper|top stories|latest news|paper|sports news]
= [read|listen to|delete|check] my [emails|messages|voicemail|texts|mailbox|inbox]
= [what's|is there anything] [on tv|on netflix|on at the cinema|on the front page]( tonight| today)
= [count|spell|say|repeat|pronounce] [to {number}|{topic}|my name|the alphabet|after me|{person}]
= [measure|what's|check] my [pulse|steps|weight|sleep|heart rate|blood sugar]
= [order|call|send|get] [an ambulance|a plumber|the police|an electrician|a locksmith|help]
= [hire|find] [a cleaner|a babysitter|a gardener|a painter]
= [predict|tell me] [the future|my fortune|my horoscope|the lottery numbers]
= [start|stop|join|record] [a|the|my] [meeting|call|conference|zoom call|podcast|workout plan]
= [how do you|teach me to|show me how to] [spell|pronounce|draw|knit|juggle|swim|dance|cook]( {topic}| {item})
[do|finish|check|grade] my [taxes|chores|assignments|school work|exercises]
= [are we|am i|is {country}] winning
= i [want|would like|need] to [reserve|hire|rent] [a car|a boat|a room|a seat] [to|in] {city}
= [where|who|what] [are|were] [the {topic}|{topic}]( now| exactly)
""",
    "smalltalk": """
= [hello|hi|hey|hiya|good evening|good afternoon] [you|my friend|again|everybody|robot|there]
= [how|are] [are you|you ok|you well|is life|are things]( today| now| these days)
= [thanks|thank you|cheers|many thanks|thx] [for that|a bunch|a million|really|buddy|dear|again]
= [that|this|it] [was|is] [really |so |very |][kind|helpful|nice|funny|clever|cool|sweet|wonderful|fantastic|silly|lovely]( of you)
= [you|you really] [are|look|sound] [so |really |very |][nice|smart|helpful|funny|great|sweet|clever|tired|sad|stupid|annoying]
= [i|we] [really |][like|love|miss|appreciate|adore|trust] you( so much| a lot)
= [i'm|i am|we're|i feel] [so |very |really |a bit |][bored|happy|sad|tired|hungry|lonely|excited|angry|sick|nervous|stressed|great|fine|thirsty|proud]
= my [day|week|life|mood|head] [was|is] [good|bad|great|terrible|long|boring|hurting]
= [do|can|could|will|would] you [ever |][sleep|eat|cry|lie|think|dance|sing|cook|love|smile|get tired|feel pain|be my friend|marry me|know everything]
= [are|were] you [a person|a bot|a woman|a man|tired|busy|sad|ok|well|clever|there|born|new|my friend|listening to me]
= [what|where|how|why] [are you|were you made|do you live|do you work|is your maker|is your name|is your age|do you exist]
= what's your [age|favourite film|favourite food|hobby|opinion|purpose|sign|full name|problem]
= [what|who|which film|which music] do you [like|love|hate|prefer|dream of|know|want]( most)
= [what|tell me what] [can|do] you [do for me|know|understand|help with|think about me]
= [nice|good|great|cool|awesome|excellent|amazing|brilliant|wonderful|lovely|super]( job| one| work| stuff| answer)
= [i|we] [had|am having|are having] a [good|bad|great|long|hard] [day|night|week|time]
= [have|enjoy] [a good one|a great evening|your day|the weekend|a nice weekend]
= [what|such] a [nice|lovely|terrible|beautiful|strange] [day|evening|song|idea|joke]
= [oh|ah|aha|ha|hahaha|hehe|yay|hooray|ouch|ugh|yikes|gosh]( well| nice| ok)
= [happy|merry] [easter|birthday to me|holidays|new year to you|halloween]
= [sorry|excuse me|my apologies|pardon]( about that| for that| my dear)
= [let's|can we|i want to|we should] [talk|chat|be friends|have a chat|talk a bit]( now)
= [i|we] [know|guess|see|agree|think so|believe you|understand]
= [you know what|guess what|listen|interesting|really|of course|no way|indeed|true|never]
= it's [my birthday|a nice day|so quiet today|friday at last|a pleasure|great to talk to you]
= [don't|never] [be sad|be angry|be shy]( about it)
= [good|sweet|poor|clever|silly] [boy|girl|robot|thing|house|machine]
""",
    "two": """
{cmd} and {cmd2} [please|as well|also|afterwards|after that|at the same time]
{cmd}, then {cmd2}
{cmd}, and {cmd2}
{cmd}, also {cmd2}
{cmd} and please {cmd2}
{cmd} and don't forget to {cmd2}
{cmd} before you {cmd2}
{cmd} after you {cmd2}
{cmd} and afterwards {cmd2}
{cmd} and [finally|next|now|later] {cmd2}
[first|firstly] {cmd} [and after that|and then|afterwards|second] {cmd2}
please {cmd} and {cmd2} please
{cmd} and [can|could] you {cmd2}
{cmd} [oh and|while you|and when that's done] {cmd2}
= i want you to {cmd} and to {cmd2}
= {cmd}. {cmd2}
""",
}

FOREIGN = {
    "de": """
dreh das licht {in} etwas heller
kannst du die rollläden {in} hochfahren
ich will jetzt {n} grad {in}
ist es {in} warm genug
stell mir den wecker auf halb {n}
wie viel zeit ist noch übrig
spiel mir bitte ein lied vor
mach mal lauter
was läuft heute im fernsehen
das reicht jetzt danke
ich komme gerade nach hause
wir gehen jetzt los
kauf bitte noch {item}
streiche {item} von der liste
erinnere mich an den zahnarzt
wer bist du eigentlich
sperr die hintertür zu
wo bist du
alle lampen aus
""",
    "fr": """
peux-tu fermer les volets {in}
je veux {n} degrés {in}
est-ce qu'il fait chaud {in}
mets le réveil à {n} heures et quart
combien de temps encore
joue une chanson pour moi
mets plus fort
je rentre à la maison
on s'en va maintenant
achète {item} s'il te plaît
enlève {item} de la liste
rappelle-moi le dentiste demain
qui es-tu
verrouille la porte de derrière
toutes les lampes éteintes
il y a trop de lumière {in}
change la couleur de la lampe {in}
ça suffit merci
on a besoin de lumière {in}
""",
    "es": """
puedes cerrar las persianas {in}
pon {n} grados {in}
hace calor {in}
pon el despertador a las {n} y cuarto
cuánto falta todavía
ponme una canción
más alto por favor
acabo de llegar a casa
nos vamos ahora
compra {item} por favor
quita {item} de la lista
recuérdame ir al dentista mañana
quién eres
cierra la puerta de atrás
todas las luces apagadas
baja la luz {in}
cambia el color de la lámpara {in}
ya basta gracias
hay que comprar {item}
me quiero acostar
""",
    "it": """
puoi chiudere le tapparelle {in}
voglio {n} gradi {in}
fa caldo {in}
metti la sveglia alle {n} e un quarto
quanto tempo resta ancora
fammi sentire una canzone
più forte per favore
sono appena tornato a casa
adesso usciamo
compra {item} per favore
togli {item} dalla lista
ricordami il dentista domani
chi sei
chiudi la porta sul retro
tutte le luci spente
abbassa la luce {in}
cambia il colore della lampada {in}
adesso basta grazie
bisogna comprare {item}
voglio andare a letto
suona qualcosa {in}
""",
}

# Tasks and songs of words that mean nothing; "@" is such a word.
MADE_TASKS = (
    "@ the @|@ my @|@ a @|@ @|@|@ the @ @|@ to {person}|@ {person}|@ to the @|@ for {person}|@ the @ for {person}|@ up the @"
    "|@ out the @|@ with {person}|@ @ the @|@ some @|@ the @ to {person}|@ in the @|@ from the @|@ {item}|@ the @ and the @"
    "|@ off the @|@ {person} about the @|@ down the @|@ on the @|@ our @"
)
MADE_SONGS = (
    "@|@|@ @|@ @|@ @ @|the @|the @ @|@ of @|@ of the @|the @ of @|@ in the @|@ to @|@ from @|the @ from @|@ and @|@ on the @|a @"
    "|my @|@ me @|under @|@ it @|@ for you|i @ you|@ my @|no @|@ the @|@ with me|over the @|@ by the @"
)

# Further carriers, as in templates.py.
CARRIERS = """
could you possibly @
could you just @
could you quickly @
can you just @
can you quickly @
can you maybe @
will you please @
will you @ please
will you kindly @
you could @
you can @ now please
you need to @
you have to @
you must @
we need you to @
i would like you to @
i'd love you to @
i expect you to @
i'm asking you to @
i hope you can @
perhaps you could @
perhaps @
why don't you @
could i ask you to @
may i ask you to @
would you mind if we @
can we @
could we @
shall we @
we should @
it's time to @
i think we should @
do me a favour @
do @
please do @
please be so kind and @
please can you @
please could you @
hey could you @
hey could you please @
hey there @
hey um @
okay now @
okay so @
okay please @
okay then @
right @
right then @
fine @
great @
also @
and now @
and please @
and then @
then @
but first @
first @
next @
quick @
thanks @
robot @
dear house @
hello house @
computer please @
assistant please @
assistant could you @
you there @
sorry @
sorry but could you @
oh could you @
oh dear @
er @
erm @
hmm @
yes could you @
yeah please @
no please @
sure @
i said @
like i said @
again @
@ already
@ again please
@ soon
@ then
@ right away
@ straight away
@ this minute
@ this instant
@ as soon as possible
@ when you have time
@ when you get a chance
@ if it's possible for you
@ if that's okay
@ if you would
@ if you like
@ could you
@ can you
@ will you please
@ for us
@ for me okay
@ for me thanks
@ okay thanks
@ alright
@ my dear
@ my friend
@ assistant
@ computer
@ thanks a lot
@ many thanks
@ thank you so much
@ cheers
@ yeah
@ just like that
@ too
@ as well
"""

SENTENCE_CARRIERS = """
um so @
er @
hmm @
hey house @
hey there @
hey assistant sorry @
okay @
okay so @
right @
alright @
yes @
yeah @
yeah so @
no @
oh well @
oh dear @
dear house @
please @
look @
look here @
tell you what @
i mean @
i guess @
i believe @
it seems @
actually @
honestly @
really @
but @
and @
now @
then @
good @
great @
@ you know
@ i think
@ i guess
@ okay
@ alright
@ thank you
@ thanks a lot
@ cheers
@ already
@ again
@ my friend
@ assistant
@ computer
@ if you please
@ would you
@ don't you think
@ then
@ actually
@ to be honest
@ really
"""
