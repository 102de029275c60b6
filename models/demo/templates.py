"""The phrasings of the demo data: one list of templates for each kind of command.

A template is a line of text with `[a|b]` (one of), `(a)` (perhaps) and `{slot}`. A line that begins with "= " is
a whole sentence; every other line is an imperative that a carrier ("could you … please") may enclose.
A line after "! " is held out; of a line after "~ ", half of what it can become is held out and the other half
trains; all other lines train.
"""

# Each kind: the lines of its phrasings. data.py gives every kind its answer.
PHRASES = {
    "light.on": """
[turn|switch] on the {light}( {inroom})
[turn|switch] the {light} on( {inroom})
[turn|switch|put|flip] the {roomadj} {light} on
! [turn|switch] on the {roomadj} {light}
~ put the {light} on( {inroom})
get the {light} on( {inroom})
[light|light up] the {room}
! {light} on( {inroom})
{roomadj} {light} on
= [it's|it is] [too |so |really |very |pretty |]dark {inroom}
= i can't see [anything|a thing|much] {inroom}
~ = i need [some |more |a bit of |]light {inroom}
= i want the {light} on( {inroom})
~ = i'd like the {light} on( {inroom})
give me [some |a bit of |]light {inroom}
= let there be light {inroom}
make sure the {light} [is|are] on {inroom}
~ activate the {light}( {inroom})
activate the {roomadj} {light}
= we need the {roomadj} {light} on
= the {roomadj} {light} should be on
= can we have [some |]light {inroom}
~ = could we have the {light} on {inroom}
illuminate the {room}
[power|fire] up the {light}( {inroom})
power on the {roomadj} {light}
bring the {light} on( {inroom})
have the {roomadj} {light} [on|turned on|switched on]
[start|enable] the {light}( {inroom})
= the {room} needs [some |]light
~ = the {room} is [too |so |really |]dark
leave the {roomadj} {light} on
= why is it so dark {inroom}
! = {light} {inroom} on
~ [turn|switch] on {all}
[turn|switch|put] {all} on
! = {all} on
make {all} go on
= i want {all} on
~ = i'd like [some |a little |]light {inroom}
let's have [some |]light {inroom}
= there's no light {inroom}
= it's pitch [dark|black] {inroom}
= we're sitting in the dark {inroom}
get the {roomadj} {light} [going|on|started]
start up the {roomadj} {light}
flick on the {light}( {inroom})
flick the {roomadj} {light} on
= {light} please {inroom}
""",
    "light.off": """
[turn|switch] off the {light}( {inroom})
[turn|switch] the {light} off( {inroom})
[turn|switch|flip] the {roomadj} {light} off
[turn|switch] off the {roomadj} {light}
[kill|cut] the {light}( {inroom})
! [kill|cut] the {roomadj} {light}
~ {light} off( {inroom})
{roomadj} {light} off
~ put the {light} out( {inroom})
[put|get] the {roomadj} {light} off
shut [off|down] the {light}( {inroom})
shut the {light} off( {inroom})
shut off the {roomadj} {light}
= lights out( {inroom})
= i don't need [the |any |]light[s|] {inroom}
~ = i don't want the {light} on {inroom}
= we don't need the {roomadj} {light} [any more|anymore|now]
make it dark {inroom}
make sure the {light} [is|are] off {inroom}
deactivate the {light}( {inroom})
! deactivate the {roomadj} {light}
= nobody is in the {room} so [turn|switch] [off the light|the light off]
don't leave the {light} on {inroom}
don't leave the {roomadj} {light} on
= i want the {light} off( {inroom})
~ = i'd like the {roomadj} {light} off
have the {roomadj} {light} [off|turned off|switched off]
~ = the {roomadj} {light} should be off
= the {light} {inroom} can go off
power off the {light}( {inroom})
power down the {roomadj} {light}
[stop|disable] the {light}( {inroom})
= we're done {inroom} so lights off
= no [more |]light[s|] {inroom}
= {light} {inroom} off
[turn|switch] off {all}
! [turn|switch|put] {all} off
= {all} off
kill {all}
= i want {all} off
~ shut off {all}
make {all} go off
= the {light} isn't needed {inroom}
= we can turn off the {light} {inroom}
flick off the {light}( {inroom})
~ flick the {roomadj} {light} off
get rid of the light {inroom}
= everyone left the {room} so lights off
! = {light} out {inroom}
~ = the {roomadj} {light} can be turned off
switch off all lights {inroom}
""",
    "light.set": """
set the {light} to {level}( {inroom})
! set the {roomadj} {light} to {level}
set the {light} {inroom} to {level}
set the brightness {inroom} to {level}
~ set the {light} at {level}( {inroom})
put the {light} at {level}( {inroom})
~ put the {roomadj} {light} on {level}
[dim|lower] the {light} to {level}( {inroom})
! [dim|lower|turn down] the {roomadj} {light} to {level}
[turn|bring] the {light} [up|down] to {level}( {inroom})
[raise|turn up] the {roomadj} {light} to {level}
[change|adjust] the {light} to {level}( {inroom})
~ [change|adjust] the brightness of the {roomadj} {light} to {level}
make the {light} {level} bright( {inroom})
= i want the {light} at {level}( {inroom})
= i'd like {level} [brightness|light] {inroom}
= {roomadj} {light} to {level}
= {roomadj} {light} {level}
= {light} [at|to] {level}( {inroom})
= brightness {level}( {inroom})
= brightness {inroom} [at|to] {level}
~ have the {roomadj} {light} at {level}
get the {light} to {level}( {inroom})
= the {roomadj} {light} should be at {level}
give me {level} [light|brightness]( {inroom})
""",
    "light.dim": """
dim the {light}( {inroom})
dim the {roomadj} {light}( a bit| a little| slightly)
turn down the {light}( a bit| a little)( {inroom})
turn the {light} down( a bit| a little)( {inroom})
~ turn the {roomadj} {light} down
lower the {light}( a bit| a little)( {inroom})
make the {light} [darker|dimmer|less bright]( {inroom})
! make it [darker|dimmer|less bright] {inroom}
make it [a bit|a little|slightly] [darker|dimmer] {inroom}
make the {roomadj} {light} [a bit |a little |][darker|dimmer|softer]
= [it's|it is] too bright {inroom}
= the {light} [is|are] too bright( {inroom})
= the {roomadj} {light} is [too bright|blinding|too strong]
= the {light} [is|are] blinding me( {inroom})
reduce the brightness( {inroom})
~ [reduce|decrease|lower] the brightness of the {roomadj} {light}
decrease the brightness( {inroom})
! bring down the {light}( a bit| a little)( {inroom})
= less light {inroom}
~ = i want less light {inroom}
~ = i'd like it [darker|dimmer] {inroom}
= a bit less light {inroom}
soften the {light}( {inroom})
= not so bright {inroom}
take the {light} down( a bit| a notch| a little)( {inroom})
= can it be [a bit |]less bright {inroom}
""",
    "light.brighten": """
brighten the {light}( {inroom})
brighten the {roomadj} {light}( a bit| a little| slightly)
! brighten [it |]up {inroom}
turn up the {light}( a bit| a little)( {inroom})
turn the {light} up( a bit| a little)( {inroom})
~ turn the {roomadj} {light} up
~ raise the {light}( a bit| a little)( {inroom})
make the {light} [brighter|less dim]( {inroom})
make it brighter {inroom}
make it [a bit|a little|slightly|much] brighter {inroom}
make the {roomadj} {light} [a bit |a little |]brighter
= [it's|it is] too dim {inroom}
= the {light} [is|are] too [dim|weak]( {inroom})
= the {roomadj} {light} is [too dim|not bright enough|too weak]
= it's not bright enough {inroom}
increase the brightness( {inroom})
[increase|raise] the brightness of the {roomadj} {light}
raise the brightness( {inroom})
~ bring up the {light}( a bit| a little)( {inroom})
= more light {inroom}
! = brighter {inroom}
= i want it brighter {inroom}
~ = i'd like it [a bit |]brighter {inroom}
= a bit more light {inroom}
take the {light} up( a bit| a notch| a little)( {inroom})
= can it be [a bit |]brighter {inroom}
""",
    "light.color": """
! make the {light} {color}( {inroom})
make the {roomadj} {light} {color}
~ make it {color} {inroom}
turn the {light} {color}( {inroom})
turn the {roomadj} {light} {color}
~ set the {light} to {color}( {inroom})
set the {roomadj} {light} to {color}
change the {light} to {color}( {inroom})
change the {roomadj} {light} to {color}
change the color of the {roomadj} {light} to {color}
change the colour( {inroom}) to {color}
switch the {light} to {color}( {inroom})
= {color} light[s|] {inroom}
= {roomadj} {light} {color}
= i want {color} light {inroom}
= i'd like [some |]{color} light {inroom}
~ give me {color} light {inroom}
put [on |]{color} light[s|] {inroom}
= the {light} should be {color} {inroom}
! = can we have {color} light {inroom}
color the {light} {color}( {inroom})
have the {light} [in |]{color}( {inroom})
paint the {room} {color}
~ light the {room} in {color}
light up the {room} [in |]{color}
""",
    "climate.set": """
! set the {heat} to {temp}( {inroom})
set the {roomadj} {heat} to {temp}
~ set the {heat} {inroom} to {temp}
set the {room} to {temp}
set it to {temp} {inroom}
put the {heat} at {temp}( {inroom})
put the {heat} on {temp}( {inroom})
[turn|bring] the {heat} [up|down] to {temp}( {inroom})
[turn|put] the {roomadj} {heat} to {temp}
[raise|lower] the {heat} to {temp}( {inroom})
[raise|lower] the {roomadj} {heat} to {temp}
heat the {room} [to|up to] {temp}
cool the {room} [to|down to] {temp}
~ warm the {room} [up |]to {temp}
make it {temp} {inroom}
~ make the {room} {temp}
~ keep it at {temp} {inroom}
keep the {room} at {temp}
= i want it to be {temp} {inroom}
= i want {temp} {inroom}
! = i'd like {temp} {inroom}
= i'd like the {room} [at|to be] {temp}
~ = {heat} [to|at|on] {temp}( {inroom})
= {roomadj} {heat} [to|at] {temp}
= {temp} {inroom}
change the {heat} to {temp}( {inroom})
adjust the {heat} to {temp}( {inroom})
get the {room} to {temp}
! = it should be {temp} {inroom}
hold {temp} {inroom}
= let's have {temp} {inroom}
""",
    "climate.warmer": """
make it {amount} warmer( {inroom})
make it {amount} warmer {inroom}
make the {room} {amount} warmer
~ turn up the {heat} {adv}( {inroom})
turn the {heat} up {adv}( {inroom})
! turn up the {roomadj} {heat} {adv}
~ turn the {roomadj} {heat} up {adv}
raise the {heat} {adv}( {inroom})
! raise the {roomadj} {heat} {adv}
increase the {heat} {adv}( {inroom})
= it should be {amount} warmer( {inroom})
= i want it {amount} warmer( {inroom})
= i'd like it {amount} warmer( {inroom})
warm [it|things] up {adv}( {inroom})
warm up the {room} {adv}
warm the {room} up {adv}
heat [it|things] up {adv} {inroom}
~ heat the {room} up {adv}
get it {amount} warmer {inroom}
~ = {amount} warmer {inroom}
! = {amount} warmer
= could it be {amount} warmer {inroom}
~ = can we have it {amount} warmer {inroom}
bring the {heat} up {adv}( {inroom})
bump up the {heat} {adv}( {inroom})
bump the {roomadj} {heat} up {adv}
crank up the {heat} {adv}( {inroom})
push the {heat} up {adv}( {inroom})
= let's have it {amount} warmer {inroom}
~ set the {heat} {amount} higher( {inroom})
put the {heat} {amount} higher( {inroom})
put the {heat} up {adv}( {inroom})
set the {room} {amount} warmer
""",
    "climate.cooler": """
make it {amount} [cooler|colder]( {inroom})
make it {amount} [cooler|colder] {inroom}
make the {room} {amount} [cooler|colder]
turn down the {heat} {adv}( {inroom})
turn the {heat} down {adv}( {inroom})
turn down the {roomadj} {heat} {adv}
turn the {roomadj} {heat} down {adv}
! lower the {heat} {adv}( {inroom})
~ lower the {roomadj} {heat} {adv}
[reduce|decrease] the {heat} {adv}( {inroom})
= it should be {amount} [cooler|colder]( {inroom})
= i want it {amount} [cooler|colder]( {inroom})
~ = i'd like it {amount} [cooler|colder]( {inroom})
cool [it|things] down {adv}( {inroom})
cool down the {room} {adv}
cool the {room} down {adv}
cool things off {adv} {inroom}
~ cool the {room} off {adv}
get it {amount} cooler {inroom}
= {amount} [cooler|colder] {inroom}
= {amount} [cooler|colder]
= could it be {amount} [cooler|colder] {inroom}
~ = can we have it {amount} [cooler|colder] {inroom}
bring the {heat} down {adv}( {inroom})
! bump down the {heat} {adv}( {inroom})
bump the {roomadj} {heat} down {adv}
~ take the {heat} down {adv}( {inroom})
drop the {heat} {adv}( {inroom})
! = let's have it {amount} cooler {inroom}
set the {heat} {amount} lower( {inroom})
put the {heat} {amount} lower( {inroom})
~ put the {heat} down {adv}( {inroom})
set the {room} {amount} cooler
""",
    "climate.cold": """
= [i'm|i am] [cold|freezing|chilly]( {inroom})
~ = [i'm|i am] [so|really|very|a bit|pretty] [cold|chilly] {inroom}
= [it's|it is] [cold|freezing|chilly] {inroom}
= [it's|it is] [too|so|really|very|a bit|pretty|quite] [cold|chilly|cool] {inroom}
! = the {room} is [freezing|cold|too cold|a bit cold|really cold]
= we're freezing {inroom}
~ = [we're|we are] [cold|chilly|all cold] {inroom}
= my [feet|hands|fingers|toes] are [cold|freezing] {inroom}
= why is it so cold {inroom}
= the {room} feels [cold|chilly|freezing|too cold|like a fridge]
= it feels [cold|chilly|freezing] {inroom}
= brr it's cold {inroom}
= it's like a fridge {inroom}
= it's getting [cold|chilly] {inroom}
= it's not warm enough {inroom}
! = i feel cold {inroom}
= the kids are cold {inroom}
~ = [it's|it is] too cold for me {inroom}
= i'm shivering( {inroom})
~ = we're shivering {inroom}
= could do with some heat {inroom}
= it's [icy|frosty|arctic|nippy] {inroom}
= the {room} is [icy|chilly|nippy]
= {inroom} it is [too |]cold
= everyone is [cold|freezing] {inroom}
= i can't feel my [feet|toes|hands] {inroom}
= the baby is cold {inroom}
""",
    "climate.hot": """
= [i'm|i am] [hot|boiling|sweating|melting]( {inroom})
! = [i'm|i am] [so|really|very|too|pretty] [hot|warm] {inroom}
~ = [it's|it is] [hot|boiling|stuffy] {inroom}
= [it's|it is] [too|so|really|very|a bit|pretty|quite] [hot|warm|stuffy] {inroom}
= the {room} is [boiling|hot|too hot|too warm|a bit warm|really hot]
~ = we're boiling {inroom}
= [we're|we are] [hot|sweating|all hot] {inroom}
= my [face|head] is [hot|burning] {inroom}
= why is it so [hot|warm] {inroom}
~ = the {room} feels [hot|too warm|stuffy|boiling|like a sauna]
= it feels [hot|too warm|stuffy|boiling] {inroom}
= phew it's hot {inroom}
= it's like [a sauna|an oven] {inroom}
= it's getting [hot|warm] {inroom}
= it's not cool enough {inroom}
= i feel [hot|too warm] {inroom}
= the kids are [hot|too warm] {inroom}
= [it's|it is] too [hot|warm] for me {inroom}
= i'm roasting( {inroom})
= we're melting {inroom}
= i could do with less heat {inroom}
= it's [roasting|sweltering|baking|sweaty] {inroom}
! = the {room} is [sweltering|roasting|stuffy]
~ = {inroom} it is [too |]hot
= everyone is [hot|sweating] {inroom}
= i can't breathe it's so hot {inroom}
= the baby is hot {inroom}
""",
    "climate.on": """
[turn|switch] on the {heater}( {inroom})
[turn|switch] the {heater} on( {inroom})
[turn|switch] the {roomadj} {heater} on
! start the {heater}( {inroom})
put the {heater} on( {inroom})
put the {roomadj} {heater} on
activate the {heater}( {inroom})
~ {heater} on( {inroom})
= i want the {heater} on( {inroom})
enable the {heater}( {inroom})
get the {heater} [going|running|on]( {inroom})
! = we need the {heater} on {inroom}
fire up the {heater}( {inroom})
start heating the {room}
= {roomadj} {heater} on
~ = i'd like the {heater} on( {inroom})
power on the {heater}( {inroom})
""",
    "climate.off": """
[turn|switch] off the {heater}( {inroom})
[turn|switch] the {heater} off( {inroom})
[turn|switch] the {roomadj} {heater} off
! stop the {heater}( {inroom})
shut off the {heater}( {inroom})
shut the {roomadj} {heater} off
deactivate the {heater}( {inroom})
~ {heater} off( {inroom})
= i want the {heater} off( {inroom})
disable the {heater}( {inroom})
shut down the {heater}( {inroom})
! = we don't need the {heater} {inroom}
kill the {heater}( {inroom})
stop heating the {room}
= {roomadj} {heater} off
~ = i'd like the {heater} off( {inroom})
power off the {heater}( {inroom})
""",
    "blinds.open": """
open the {blinds}( {inroom})
! open the {roomadj} {blinds}
open {inroom} the {blinds}
raise the {blinds}( {inroom})
~ raise the {roomadj} {blinds}
[pull|roll|draw] up the {blinds}( {inroom})
[pull|roll] the {roomadj} {blinds} up
! [pull|roll|bring] the {blinds} up( {inroom})
{blinds} up( {inroom})
{roomadj} {blinds} up
~ = {blinds} open( {inroom})
~ lift the {blinds}( {inroom})
lift the {roomadj} {blinds}
let the [sun|daylight|sunlight|sunshine] in {inroom}
let [some |in some |in the |][sun|daylight|sunlight] into the {room}
put the {blinds} up( {inroom})
= i want the {blinds} [open|up]( {inroom})
= i'd like the {roomadj} {blinds} [open|up]
get the {blinds} [open|up]( {inroom})
= i want to [look|see] outside {inroom}
~ = the {roomadj} {blinds} should be [open|up]
move the {blinds} up( {inroom})
""",
    "blinds.close": """
close the {blinds}( {inroom})
! close the {roomadj} {blinds}
~ shut the {blinds}( {inroom})
! lower the {blinds}( {inroom})
lower the {roomadj} {blinds}
[pull|roll|draw] down the {blinds}( {inroom})
[pull|roll] the {roomadj} {blinds} down
~ [pull|roll|bring] the {blinds} down( {inroom})
{blinds} down( {inroom})
{roomadj} {blinds} down
= {blinds} [closed|shut]( {inroom})
shut the {roomadj} {blinds}
keep the [sun|daylight|sunlight] out {inroom}
keep the [sun|daylight|sunlight] out of the {room}
block the sun {inroom}
put the {blinds} down( {inroom})
~ = i want the {blinds} [closed|down|shut]( {inroom})
= i'd like the {roomadj} {blinds} [closed|down|shut]
get the {blinds} [closed|down|shut]( {inroom})
= the sun is [blinding me|in my eyes] {inroom}
= the {roomadj} {blinds} should be [closed|down|shut]
move the {blinds} down( {inroom})
= the neighbours can see [us|me] {inroom}
~ draw the {blinds}( {inroom})
""",
    "blinds.set": """
set the {blinds} to {level}( {inroom})
~ set the {roomadj} {blinds} to {level}
[open|close] the {blinds} to {level}( {inroom})
put the {blinds} at {level}( {inroom})
put the {roomadj} {blinds} to {level}
move the {blinds} to {level}( {inroom})
move the {roomadj} {blinds} to {level}
! [raise|lower] the {blinds} to {level}( {inroom})
[raise|lower] the {roomadj} {blinds} to {level}
~ {blinds} [to|at] {level}( {inroom})
{roomadj} {blinds} to {level}
= i want the {blinds} at {level}( {inroom})
= i'd like the {roomadj} {blinds} at {level}
have the {blinds} at {level}( {inroom})
! bring the {blinds} to {level}( {inroom})
adjust the {blinds} to {level}( {inroom})
""",
    "blinds.half": """
[open|close|shut] the {blinds} halfway( {inroom})
~ [open|close] the {roomadj} {blinds} halfway
! half [open|close] the {blinds}( {inroom})
[raise|lower] the {blinds} halfway( {inroom})
~ put the {blinds} halfway [up|down]( {inroom})
pull the {blinds} halfway [up|down]( {inroom})
{blinds} halfway( {inroom})
{blinds} half [open|closed|shut]( {inroom})
= i want the {blinds} half [open|closed]( {inroom})
set the {blinds} halfway( {inroom})
move the {roomadj} {blinds} halfway
set the {roomadj} {blinds} to half
bring the {blinds} down halfway( {inroom})
""",
    "blinds.stop": """
! stop the {blinds}( {inroom})
stop the {roomadj} {blinds}
[halt|freeze] the {blinds}( {inroom})
stop moving the {blinds}( {inroom})
hold the {blinds} [there|where they are]( {inroom})
~ leave the {blinds} [there|where they are|like that]( {inroom})
~ = {blinds} stop( {inroom})
= the {blinds} can stop [there|now]( {inroom})
stop the {blinds} [there|right there]( {inroom})
~ [leave|keep|hold] the {blinds} [there|like that|like this|as they are|where they are]( {inroom})
= the {blinds} are [fine|good] [there|like that|like this]
don't move the {blinds}( {inroom})
""",
    "alarm.set": """
wake me( up) at {atime}( {aday})
wake me( up) {aday} at {atime}
wake us( up) at {atime}( {aday})
! set an alarm for {atime}( {aday})
set an alarm {aday} [for|at] {atime}
set my alarm [for|to] {atime}( {aday})
set the alarm [for|to|at] {atime}( {aday})
set an alarm at {atime}( {aday})
~ set a wake up alarm for {atime}( {aday})
[make|create|add] an alarm [for|at] {atime}( {aday})
put an alarm [on|in] for {atime}( {aday})
= alarm [at|for] {atime}( {aday})
= alarm {atime}( {aday})
= alarm {aday} at {atime}
= i need [to get up|to wake up|to be up] at {atime}( {aday})
= i have to [get up|be up|wake up] at {atime}( {aday})
! = i want to [get up|wake up] at {atime}( {aday})
~ = i'd like to [get up|wake up] at {atime}( {aday})
= i must be awake [at|by] {atime}( {aday})
~ get me up at {atime}( {aday})
get me out of bed at {atime}( {aday})
! make sure i'm [awake|up] [at|by] {atime}( {aday})
~ make sure i [wake up|get up] at {atime}( {aday})
= {atime} alarm( {aday})
= wake up call [at|for] {atime}( {aday})
don't let me sleep [past|after] {atime}( {aday})
~ = i need an alarm [for|at] {atime}( {aday})
= i want an alarm [for|at] {atime}( {aday})
= wake up at {atime}( {aday})
= can i have an alarm for {atime}( {aday})
ring me awake at {atime}( {aday})
schedule an alarm for {atime}( {aday})
~ = my alarm should [ring|go off|be] at {atime}( {aday})
have the alarm [ring|go off] at {atime}( {aday})
let the alarm ring at {atime}( {aday})
~ make sure [i|we] [get up|wake up] [at|by] {atime}( {aday})
~ = [i|we] [need to|have to|must|want to|should] [get up|wake up|be up|be awake] [at|by] {atime}( {aday})
= {aday} [i|we] [need to|have to|must|want to] [get up|wake up|be up] at {atime}
~ = [my|the|an] alarm should [ring|go off|be|be set] [at|for] {atime}( {aday})
= let me sleep [until|till] {atime}( {aday})
""",
    "alarm.cancel": """
[cancel|delete|remove] the {atime} alarm
[cancel|delete|remove] the alarm [at|for] {atime}
! [turn|switch] off the {atime} alarm
~ [turn|switch] off the alarm [at|for] {atime}
[turn|switch] the {atime} alarm off
[cancel|delete] my {atime} alarm
[cancel|delete] my alarm [at|for] {atime}
~ = i don't need the {atime} alarm
= i don't need the alarm at {atime} [any more|anymore]
don't wake me( up) at {atime}
= no alarm at {atime}
drop the {atime} alarm
get rid of the {atime} alarm
~ clear the {atime} alarm
clear the alarm [at|for] {atime}
disable the alarm [at|for] {atime}
! = forget the {atime} alarm
take out the {atime} alarm
~ [cancel|delete|remove|clear|drop|disable|stop] [the|my] [alarm at|alarm for|alarm set for] {atime}
~ [cancel|delete|remove|clear|drop|disable|stop] [the|my] {atime} alarm
= the {atime} alarm [can go|isn't needed|is not needed|can be deleted]
""",
    "alarm.cancel.all": """
! [cancel|delete|remove] all( my| the) alarms
[cancel|delete|remove] every alarm
[cancel|delete|remove] my alarms
~ [turn|switch] off all( my| the) alarms
[turn|switch] all( my| the) alarms off
[clear|disable] all( my| the) alarms
get rid of all( my| the) alarms
= i don't need any alarms
= no alarms [tomorrow|any more|please]
~ = no more alarms
drop all( my| the) alarms
clear my alarms
= all alarms off
""",
    "alarm.query": """
~ = [what|which] alarms [do i have|are set|are on]
= [when|what time] is my [next |]alarm( set for)
= when does my alarm [ring|go off]
= do i have [an alarm|any alarms]( set)
= is [my|the|an] alarm [set|on]
= is there an alarm [set|on] [for tomorrow|]
[show|tell|list|read] me my alarms
list [my|the|all] alarms
! [show|read] my alarms
= [when|what time] will you wake me( up)
= my alarms
= at what time is my alarm
~ = when do i have to get up
what's my next alarm
= how many alarms do i have
= did i set an alarm( for tomorrow)
! = have i set [an alarm|the alarm|my alarm]
= what time [did i set|is] the alarm( for)
~ = for when is my alarm set
= when am i [getting up|supposed to get up|being woken]
~ = is my alarm set for tomorrow
= which alarm is next
= are any alarms [on|set]
""",
    "timer.set": """
set a timer for {dur}
set a {duradj} timer
[start|create|make] a timer for {dur}
[start|create|make] a {duradj} timer
start a timer of {dur}
timer for {dur}
= timer {dur}
! = {duradj} timer
~ = {dur} timer
= i need a timer for {dur}
! = i need a {duradj} timer
~ = i want a timer for {dur}
= count down {dur}
start a countdown [of|for] {dur}
set the timer [to|for] {dur}
~ give me a {duradj} timer
give me a timer for {dur}
[tell|ping|alert|beep] me in {dur}
= {dur} on the clock
run a timer for {dur}
put {dur} on the timer
begin a {duradj} timer
= let me know when {dur} are [up|over]
~ = can i have a timer for {dur}
= can i get a {duradj} timer
time {dur}( for me)
""",
    "timer.set.name": """
set a {tname} timer for {dur}
set a timer for {dur} for the {tname}
! set a timer for the {tname} for {dur}
[start|create|make] a {tname} timer for {dur}
~ [start|create] a {duradj} {tname} timer
set a {duradj} timer for the {tname}
start a {duradj} timer for the {tname}
= {tname} timer {dur}
= {tname} timer for {dur}
~ = timer for the {tname} {dur}
! = i need a {tname} timer for {dur}
= i need a {duradj} timer for the {tname}
set a {duradj} {tname} timer
~ set the {tname} timer to {dur}
~ = {dur} for the {tname}
= the {tname} needs {dur}
= the {tname} takes {dur} so set a timer
start a {tname} timer of {dur}
set a timer called {tname} for {dur}
set a timer named {tname} for {dur}
run a {tname} timer for {dur}
~ [set|start|make|create|run] a {tname} timer [for|of|with] {dur}
~ [set|start|make|create|run] a timer for the {tname}[ for| of|] {dur}
~ = [timer|a timer] for the {tname}[ for| of|] {dur}
~ = {tname} timer[ for| of|] {dur}
""",
    "timer.cancel": """
[cancel|stop|delete|remove|end] [the|my] timer
! [turn|switch] off the timer
~ [turn|switch] the timer off
[clear|kill|reset] the timer
= i don't need the timer( any more| anymore)
= timer off
~ = forget the timer
= no timer
get rid of the timer
shut off the timer
abort the timer
stop the countdown
cancel the countdown
""",
    "timer.cancel.name": """
[cancel|stop|delete|remove|end] the {tname} timer
[cancel|stop] the timer for the {tname}
! [turn|switch] off the {tname} timer
~ [turn|switch] the {tname} timer off
[clear|kill|reset] the {tname} timer
= i don't need the {tname} timer( any more| anymore)
~ = {tname} timer off
= forget the {tname} timer
delete the timer for the {tname}
get rid of the {tname} timer
remove the timer called {tname}
abort the {tname} timer
= the {tname} is done so stop the timer
~ [cancel|stop|delete|end|kill|remove|clear|abort] [the|my] {tname} timer
~ [cancel|stop|delete|end|kill|remove|clear|abort] [the|my] timer for the {tname}
~ = [the|my] {tname} timer [can stop|off|isn't needed|can go]
""",
    "timer.query": """
= how [much time|long] is left on the timer
= how [much time|much longer|long] [is|does] the timer have left
= how much time [is left|do i have left|remains|is there left]
= how long until the timer [rings|goes off|ends|is done]
! check the timer
= what's left on the timer
= when does the timer [ring|end|go off|finish]
= timer status
= how is the timer doing
~ show me the timer
= how many minutes are left( on the timer)
= is the timer still running
how far is the timer
tell me how much time is left
= how long do i have( left)
! = how long to go( on the timer)
~ = how much is left on the timer
= what does the timer say
= is the timer [done|over|finished]
= tell me [about the timer|how long the timer has left]
~ = time left
~ = what's the timer at
""",
    "timer.query.name": """
! = how [much time|long] is left on the {tname} timer
= how much time does the {tname} timer have( left)
= how much longer for the {tname}
= how much longer does the {tname} need
= how long until the {tname} is [done|ready|finished]
~ check the {tname} timer
~ = what's left on the {tname} timer
= when does the {tname} timer [ring|end|go off|finish]
= {tname} timer status
= when is the {tname} [done|ready|finished]
show me the {tname} timer
= how many minutes are left on the {tname} timer
= is the {tname} timer still running
""",
    "timer.pause": """
~ pause the timer
! pause my timer
hold the timer
put the timer on hold
~ = timer pause
freeze the timer
pause the countdown
= let the timer wait
suspend the timer
""",
    "timer.resume": """
resume the timer
~ continue the timer
restart the timer
unpause the timer
! = timer continue
let the timer [continue|go on|run on|keep going]
carry on with the timer
~ start the timer again
continue the countdown
""",
    "media.play": """
play {song}
play {song}( {inroom2})
! play [some |a bit of |a little |]{song}( {inroom2})
~ play me {song}
~ play me [some |]{song}
~ play {song} for [me|us]
put on {song}
put on [some |]{song}( {inroom2})
put {song} on( {inroom2})
put some {song} on
! [start|start playing] {song}
start playing {song}( {inroom2})
= i want to [hear|listen to] {song}( {inroom2})
= i'd like to [hear|listen to] {song}
= i want to hear some {song}
= i feel like [hearing|listening to] {song}
= i'm in the mood for {song}
~ = let's [hear|listen to] {song}( {inroom2})
~ = let me [hear|listen to] {song}
= let's have some {song}
= can we [hear|listen to|have] {song}( {inroom2})
= can i [hear|listen to] [some |]{song}
! listen to {song}
queue( up) {song}
stream {song}( {inroom2})
throw on [some |]{song}
give [me|us] some {song}
find and play {song}
= how about some {song}
spin {song}
= we want to [hear|listen to] {song}
go and play {song}
~ [play|put on|start|stream|queue] [me|us|some|a bit of] {song}( {inroom2})
~ = [i want to|i'd like to|we want to|let me|let's|i'd love to] [hear|listen to] {song}( {inroom2})
~ = [can|could] [i|we|you] [play|hear|listen to|put on] {song}( {inroom2})
~ = {inroom2} [play|put on] {song}
""",
    "media.resume": """
! [resume|continue] the {music}
[resume|continue] playing
[resume|continue] playback
keep playing
carry on playing
unpause the {music}
unpause( it)
= play on
play the {music} again
= play
= press play
go on with the {music}
= music on
~ turn the {music} back on
start the {music} again
! = back to the {music}
= continue please
~ = resume please
= {music} continue
let the {music} [play|go on|continue]
= keep the {music} going
~ = go on playing
= end the pause
~ = you can play again
= un-pause the {music}
""",
    "media.pause": """
pause the {music}
pause( it| this| that)
pause playback
hold the {music}
! put the {music} on pause
= pause the {music} for a [moment|second|minute]
~ = pause for a [moment|second|minute]
hit pause
~ = pause please
freeze the {music}
hold the {music} for a [moment|second]
interrupt the {music}
halt the {music} for a [moment|second]
! = hold on with the {music}
= stop the {music} for a [moment|second|minute]
~ = {music} pause
take a break with the {music}
= quick pause
suspend the {music}
""",
    "media.stop": """
! stop the {music}
stop playing( the {music})
stop playback
[turn|switch] off the {music}
[turn|switch] the {music} off
~ = {music} off
kill the {music}
end the {music}
shut off the {music}
~ = no more {music}
= i don't want to [hear|listen to] the {music}( any more| anymore)
= enough [music|of the music|with the music]
shut the {music} off
cut the {music}
~ stop the {music} now
= {music} stop
= that's enough music
= i've heard enough( music)
! = stop the {music} please
= finish the {music}
turn that {music} off
~ = no music
= be done with the {music}
""",
    "media.next": """
~ = next [song|track|one|title]
~ = next
skip( this| it| that)
skip this [song|track|one]
skip to the next( song| track| one)
play the next [song|track|one|title]
go to the next [song|track|one]
jump to the next [song|track]
! = i don't like this [song|track|one]
= another [song|track|one]
play another [song|track|one]
play something else
skip ahead
= one [song|track] further
~ = not this [song|one]
switch to the next [song|track]
! skip the [song|track]
~ = skip
= next please
= i've had enough of this [song|track]
= [song|track] skip
forward to the next [song|track]
change the [song|track]
= this [song|track] is [bad|boring|awful] skip it
move on to the next [song|track|one]
""",
    "media.previous": """
= previous [song|track|one|title]
! = last [song|track] again
~ go back( a song| one song| a track| one track)
go back to the [last|previous] [song|track|one]
play the [previous|last] [song|track|one]( again)
play the [song|track] before( this| that)
skip back
skip back [a|one] [song|track]
jump back [a|one] [song|track]
~ play that [song|track|one] again
! = one [song|track] back
= again the last [song|track]
return to the [previous|last] [song|track]
= back
~ = go one [song|track] back
repeat the [last|previous] [song|track]
~ = what was that last [song|track] play it again
back to the [previous|last] [song|track|one]
= the [song|track] before please
= previous please
rewind to the [last|previous] [song|track]
""",
    "volume.set": """
! set the volume to {level}
~ set the volume at {level}
turn the volume [up|down] to {level}
turn the volume to {level}
put the volume [at|on] {level}
= volume {level}
= volume [to|at] {level}
! = {level} volume
[change|adjust] the volume to {level}
[raise|lower] the volume to {level}
~ make the volume {level}
bring the volume [up|down] to {level}
= i want the volume at {level}
= i'd like the volume at {level}
~ = sound to {level}
set the sound to {level}
= the volume should be( at) {level}
= loudness {level}
""",
    "volume.up": """
! turn it up( a bit| a little| a notch)
turn up the {sound}( a bit| a little| a notch)
turn the {sound} up( a bit| a little| a notch)
= louder
= [a bit|a little|much] louder
~ make it [louder|a bit louder|a little louder]
= {sound} up
~ = volume up( a bit| a little)
raise the {sound}( a bit| a little)
increase the volume( a bit| a little)
= i can't hear [it|anything|the music|a thing]
! = it's too quiet
= that's too quiet
= the {sound} is too [quiet|low]
pump up the {sound}
crank up the {sound}
~ crank it up
= i want it louder
= i'd like it [a bit |]louder
~ bring the {sound} up( a bit| a little)
~ make the {sound} [louder|a bit louder]
! = can it be [a bit |]louder
= speak up
= i can't hear a word
= i can [hardly|barely] hear [this|the song|anything]
= more volume
= higher volume
= a notch louder
= turn that up
= it could be louder
= volume higher
~ put the {sound} up( a bit)
= too quiet
""",
    "volume.down": """
turn it down( a bit| a little| a notch)
! turn down the {sound}( a bit| a little| a notch)
turn the {sound} down( a bit| a little| a notch)
~ = quieter
~ = [a bit|a little|much] [quieter|softer]
make it [quieter|a bit quieter|a little quieter|softer]
! = {sound} down
= volume down( a bit| a little)
~ lower the {sound}( a bit| a little)
[decrease|reduce] the volume( a bit| a little)
~ = it's too loud
= that's too loud
= the {sound} is too loud
= my ears hurt
= not so loud
keep the {sound} down
tone it down( a bit| a little)
= i want it quieter
= i'd like it [a bit |]quieter
bring the {sound} down( a bit| a little)
make the {sound} [quieter|a bit quieter|softer]
! = can it be [a bit |]quieter
= the baby is sleeping so turn it down
= less volume
= lower volume
= a notch quieter
= turn that down
~ = it could be quieter
= volume lower
~ put the {sound} down( a bit)
= too loud
= it's [so|way too|far too|really] loud
= this is [so|way too|far too] loud
= not that loud
""",
    "volume.mute": """
mute( it| this| that)
mute the {sound}
~ = mute please
turn the sound off
= sound off
silence the {sound}
! = no sound
~ switch the sound off
= be quiet
= quiet please
= silence
put it on mute
turn off the sound
= shush
""",
    "volume.unmute": """
unmute( it| this| that)
unmute the {sound}
turn the sound [back on|on again|on]
= sound on
~ = sound back on
! switch the sound [back on|on]
= take it off mute
= bring the sound back
~ turn on the sound
restore the sound
""",
    "reminder.add": """
remind me to {task} at {rtime}( {rday})
remind me to {task} {rday} at {rtime}
remind me at {rtime} to {task}
remind me {rday} at {rtime} to {task}
~ remind me to {task} {rday}
remind me {rday} to {task}
remind me to {task} in {dur}
remind me in {dur} to {task}
set a reminder to {task} at {rtime}( {rday})
set a reminder at {rtime} to {task}
~ set a reminder for {rtime} to {task}
! set a reminder [for|] {rday} to {task}
set a reminder to {task} {rday}
set a reminder to {task} in {dur}
[add|create|make] a reminder to {task} at {rtime}
[add|create|make] a reminder to {task} {rday}
[add|create] a reminder to {task} in {dur}
= reminder to {task} at {rtime}
= reminder at {rtime} to {task}
= reminder to {task} {rday}
= reminder in {dur} to {task}
~ don't let me forget to {task} at {rtime}
don't let me forget to {task} {rday}
= i need to {task} at {rtime} so remind me
= i have to {task} {rday} so remind me
~ = i need a reminder to {task} at {rtime}
= i need a reminder to {task} {rday}
= i want to be reminded to {task} at {rtime}
= at {rtime} remind me to {task}
! = {rday} remind me to {task}
= in {dur} remind me to {task}
~ = {rday} at {rtime} remind me to {task}
! make sure i {task} at {rtime}
make sure i {task} {rday}
make sure i don't forget to {task} at {rtime}
~ tell me at {rtime} to {task}
tell me to {task} in {dur}
tell me in {dur} to {task}
tell me {rday} to {task}
~ tell me {rday} at {rtime} to {task}
help me remember to {task} {rday}
! help me remember to {task} at {rtime}
~ = i must not forget to {task} {rday}
= i must not forget to {task} at {rtime}
= can you remind me that i need to {task} at {rtime}
remind me that i have to {task} {rday}
~ [remind me|tell me|help me remember] to {task} [at {rtime}|{rday}|in {dur}|{rday} at {rtime}|at {rtime} {rday}]
~ [at {rtime}|{rday}|in {dur}|{rday} at {rtime}] [remind me|tell me|help me remember] to {task}
~ [remind me|tell me] [at {rtime}|{rday}|in {dur}|{rday} at {rtime}] [to|that i have to|that i need to] {task}
~ = [i have to|i need to|i must|i want to|i should] {task} [at {rtime}|{rday}|in {dur}] [so remind me|so don't let me forget|please remind me|remind me of that]
~ [set|add|create|make] a reminder [at {rtime}|for {rtime}|{rday}|in {dur}] to {task}
~ don't let me forget to {task} [at {rtime}|{rday}|in {dur}|{rday} at {rtime}]
""",
    "reminder.list": """
= what are my reminders
= which reminders do i have
~ = do i have any reminders( today| tomorrow)
! = what do i have to do [today|tomorrow]
[show|read|tell] me my reminders
~ list [my|the|all] reminders
[show|read] my reminders
= my reminders
= what did i want to be reminded of
! = what should i not forget
= what reminders are set
~ = is there anything i should remember
read out my reminders
= anything i should [remember|know|not forget]( today)
= what's on my reminder list
~ = did i set any reminders
= what do you have to remind me of
= are there any reminders( today| for tomorrow)
= how many reminders do i have
= what reminders do i have
= tell me what i have to remember
""",
    "list.add": """
add {item} to [the|my|our] {list}
put {item} on [the|my|our] {list}
put {item} on {list2}
[write|note] {item} on [the|my|our] {list}
! note down {item} on [the|my] {list}
write down {item} on [the|my] {list}
[the|my|our] {list} needs {item}
~ = {item} on [the|my|our] {list}
~ = {item} to [the|my|our] {list}
add to [the|my|our] {list} {item}
put on [the|my|our] {list} {item}
~ = i need {item} on [the|my] {list}
! = i want {item} on [the|my|our] {list}
= i'd like {item} on [the|our] {list}
~ = {list} add {item}
stick {item} on [the|my|our] {list}
include {item} [in|on] [the|my|our] {list}
[append|save] {item} to [the|my] {list}
throw {item} on [the|our] {list}
get {item} on [the|our] {list}
jot down {item} on [the|my|our] {list}
pop {item} on [the|my|our] {list}
~ [add|put|write|note|get|stick|throw|pop|include] {item} [to|on|onto] [the|my|our] {list}
~ = {item} [should go|must go|goes|has to go|belongs] [on|onto] [the|my|our] {list}
""",
    "list.add.shop": """
= we need {item}
= i need to buy {item}
= we need to buy {item}
= we have to buy {item}
= we're out of {item}
= we are out of {item}
= we ran out of {item}
= i have to get {item} at the [shop|store|supermarket]
= we're running [low on|out of] {item}
= there's no {item} left
~ = there is no more {item}
= don't forget to buy {item}
~ = i want to buy {item}
= we should [buy|get] {item}
! = buy {item}
= the {item} is [all gone|finished|empty]
~ = we have no {item} left
= we've run out of {item}
! = next time we shop we need {item}
~ = [we|i] [need|need to buy|have to buy|must buy|should buy|want to buy|have to get] {item}
~ = [we're|we are|i'm] [out of|running out of|low on|running low on|short of] {item}
~ = [there's|there is] [no|no more|hardly any] {item}( left)
""",
    "list.remove": """
~ [remove|delete] {item} from [the|my|our] {list}
take {item} off [the|my|our] {list}
take {item} [off of|from] [the|my] {list}
! [cross|strike|check|tick] {item} off [the|my|our] {list}
[cross|strike|check|tick] off {item} [on|from] [the|my] {list}
drop {item} from [the|my|our] {list}
= i don't need {item} on [the|my] {list}
= {item} off [the|my|our] {list}
erase {item} from [the|my|our] {list}
~ get {item} off [the|my|our] {list}
clear {item} from [the|my|our] {list}
scratch {item} [from|off] [the|my|our] {list}
= no {item} on [the|my|our] {list} please
= {list} remove {item}
~ [take|remove|delete|erase|cross|strike|tick|get|scratch] {item} [off|from] [the|my|our] {list}
~ = [i|we] [don't need|already have|no longer need|already bought] {item} [on|from] [the|my|our] {list}
""",
    "list.query": """
= what's on [the|my|our] {list}
= what is on [the|my|our] {list}
read( me| out) [the|my|our] {list}
[show|tell] me [the|my|our] {list}
! = what do [i|we] have on [the|my|our] {list}
= is there anything on [the|my|our] {list}
list what's on [the|my|our] {list}
~ = [the|my|our] {list} please
show [the|my|our] {list}
= how many things are on [the|my|our] {list}
! check [the|my|our] {list}
go through [the|my|our] {list}
~ = what's in [the|my|our] {list}
open [the|my|our] {list}
= what do we need [to buy|from the shop|from the supermarket]
~ = what did i put on [the|my|our] {list}
= how long is [the|my|our] {list}
= tell me what's on [the|my|our] {list}
= i want to [see|hear] [the|my|our] {list}
~ = let me [see|hear] [the|my|our] {list}
= what else is on [the|my|our] {list}
""",
    "list.clear": """
clear [the|my|our] {list}
empty [the|my|our] {list}
delete [everything|all|all items] [from|on] [the|my|our] {list}
~ remove everything from [the|my|our] {list}
wipe [the|my|our] {list}
erase [the|my|our] {list}
= start a new {list}
! take everything off [the|my|our] {list}
~ = {list} clear all
reset [the|my|our] {list}
[delete|remove|erase|take|drop] [all items|all things|all of it|it all] [from|off] [the|my|our] {list}
~ [delete|remove|erase|wipe|clear|take|drop] everything [from|off|on] [the|my|our] {list}
[clear|empty|wipe|clean] out [the|my|our] {list}
= [the|my|our] {list} should be empty
= i want [the|my|our] {list} [empty|cleared|emptied]
make [the|my|our] {list} empty
""",
    "query.temp": """
= [what's|what is] the temperature {inroom}
~ = how [warm|cold|hot] is it {inroom}
= how [warm|cold|hot] is the {room}
= what temperature is it {inroom}
= what temperature [do we have|is set] {inroom}
= [tell me|give me] the temperature {inroom}
= tell me how [warm|cold|hot] it is {inroom}
! = what's the {roomadj} temperature
= temperature {inroom}
= {roomadj} temperature
= how many degrees [is it|are there|do we have] {inroom}
= is it [warm|cold|hot] {inroom}
~ = is the {room} [warm|cold|hot]
check the temperature {inroom}
~ check the {roomadj} temperature
= what does the thermometer say {inroom}
read the temperature {inroom}
! = how [warm|cold] did the {room} get
= do you know how [warm|cold|hot] it is {inroom}
~ show me the {roomadj} temperature
what's the thermometer showing {inroom}
""",
    "query.humidity": """
~ = [what's|what is] the humidity {inroom}
= how [humid|damp] is it {inroom}
= how [humid|damp] is the {room}
! = [tell me|give me] the humidity {inroom}
= humidity {inroom}
= {roomadj} humidity
check the humidity {inroom}
= is it [humid|damp|too humid|too damp] {inroom}
= how high is the humidity {inroom}
~ = what's the {roomadj} humidity
= is the air [dry|too dry|damp] {inroom}
= how dry is [it|the air] {inroom}
""",
    "query.light": """
= [is|are] the {light} on {inroom}
~ = is the {roomadj} light [on|off|still on]
= are the {roomadj} lights [on|off|still on]
= did i leave the {light} on {inroom}
! = did i leave the {roomadj} {light} on
= did someone leave the {light} on {inroom}
~ = is there a light on {inroom}
check if the {light} [is|are] [on|off] {inroom}
check whether the {roomadj} {light} is [on|off]
= tell me if the {roomadj} {light} is on
~ = did i [turn|switch] off the {light} {inroom}
! = did i [turn|switch] the {roomadj} {light} off
= are any lights on {inroom}
= have i left the {light} on {inroom}
= did we leave the {light} on {inroom}
~ = is the {light} off {inroom}
= does the light burn {inroom}
= can you see if the {light} is on {inroom}
= is light on {inroom}
= are the {light} burning {inroom}
= did anyone turn off the {light} {inroom}
= which lights are on {inroom}
""",
    "query.weather": """
= [what's|what is|how's|how is] the weather( {wday})
= what's the weather [like|going to be] {wday}
! = what's the weather like( {wday})
~ = how's the weather going to be {wday}
= what will the weather be( like) {wday}
= [will|is] it [rain|snow|be sunny|be warm|be cold|going to rain|going to be sunny] {wday}
= do i need an umbrella {wday}
= do i need a [jacket|coat] {wday}
~ = weather( {wday})
! = weather forecast( {wday})
~ = what's the forecast( {wday})
tell me the weather( {wday})
give me the [weather|forecast]( {wday})
= how [warm|cold|hot] will it [be|get] {wday}
= will we have [rain|sun|snow] {wday}
= what does the forecast say( {wday})
= should i [take|bring] an umbrella {wday}
= is it raining
= will it be [wet|dry|nice|windy] {wday}
= any rain {wday}
= is it [cold|warm|hot|windy|sunny|raining|snowing] outside
~ = how [cold|warm|hot] is it outside
= what's it like outside( {wday})
= can i go out without a jacket {wday}
= is there [rain|snow|a storm] coming {wday}
! = does it rain {wday}
= is it going to [rain|snow|be hot|be cold|storm] {wday}
= what's the chance of rain( {wday})
= should i expect [rain|snow|sun] {wday}
~ = [will|is] it [be|going to be|get|getting] [rainy|sunny|cold|hot|warm|windy|wet|dry|nice]( {wday})
~ = [how's|how is|what's|what is] the [weather|forecast] [{wday}|for {wday}|going to be {wday}|like {wday}]
~ = [do|will|should] i need [an umbrella|a jacket|a coat|sunglasses|gloves] {wday}
~ = [weather|forecast|temperature outside]( {wday})
""",
    "query.time": """
! = [what's|what is] the time( now)
= what time is it( now)
= how late is it
= tell me the time
= [do you know|do you have] the time
~ = time please
= [the|current] time
= can you tell me what time it is
~ give me the time
= what's the time right now
= what does the clock say
say the time
""",
    "query.date": """
= [what's|what is] the date( today)
= what day is it( today)
! = [which|what] day is today
= tell me the date
= what's today's date
~ = date please
= today's date
= what date [is it|do we have|is today]
~ give me the date
= what day of the week is it
= do you know [what day it is|the date]
= which day do we have( today)
""",
    "query.lock": """
~ = is the {door} [locked|unlocked|closed|open]
= is the {door} [still |]locked
! = did i lock the {door}
= did you lock the {door}
= have i locked the {door}
~ check the {door}
check if the {door} is [locked|unlocked]
check whether the {door} is [locked|closed]
~ = did i leave the {door} [unlocked|open]
= tell me if the {door} is locked
= what's the status of the {door}
! = {door} status
= is my {door} locked
= did anyone lock the {door}
= is the {door} shut
= was the {door} locked
= did we lock the {door}
= did someone lock the {door}
= can you see if the {door} is [locked|closed]
= i'm not sure if i locked the {door}
~ = have we locked the {door}
= is the {door} locked or unlocked
""",
    "lock.lock": """
lock the {door}
lock up the {door}
= {door} lock
make sure the {door} is locked
! = i want the {door} locked
~ = i'd like the {door} locked
secure the {door}
bolt the {door}
= the {door} should be locked
get the {door} locked
~ have the {door} locked
keep the {door} locked
= please lock my {door}
""",
    "lock.lock.all": """
lock [all the|all|every|the] doors
! lock every door
~ lock up( the house| everything)
lock everything
secure [all the|the] doors
secure the house
make sure [all|all the] doors are locked
make sure every door is locked
~ = all doors locked
bolt all the doors
lock the [whole |]house
""",
    "lock.unlock": """
unlock the {door}
! = {door} unlock
= i want the {door} unlocked
= i'd like the {door} unlocked
unbolt the {door}
~ = the {door} should be unlocked
make sure the {door} is unlocked
get the {door} unlocked
take the lock off the {door}
undo the lock on the {door}
release the {door}
~ = please unlock my {door}
""",
    "device.on": """
~ [turn|switch] on the {device}
~ [turn|switch] the {device} on
! start the {device}
~ start up the {device}
put the {device} on
= {device} on
activate the {device}
run the {device}
= i want the {device} on
= i'd like the {device} on
get the {device} [going|running|started]
power on the {device}
power up the {device}
= the {device} should [start|run]
fire up the {device}
= let the {device} run
enable the {device}
! have the {device} [on|start]
""",
    "device.off": """
[turn|switch] off the {device}
[turn|switch] the {device} off
stop the {device}
shut off the {device}
shut down the {device}
! = {device} off
deactivate the {device}
kill the {device}
= i want the {device} off
~ = i'd like the {device} off
power off the {device}
power down the {device}
= the {device} should [stop|be off]
~ = we don't need the {device}
disable the {device}
! make the {device} stop
have the {device} off
""",
    "query.device": """
! = is the {device} [on|off|running|still on|still running]
= did i leave the {device} on
= did i [turn|switch] off the {device}
~ = did i [turn|switch] the {device} off
check if the {device} is [on|off|running]
! check the {device}
= has the {device} [finished|stopped]
= is the {device} [done|finished]
= tell me if the {device} is [on|running]
= what's the {device} doing
~ = have i left the {device} on
= what's the status of the {device}
= {device} status
= i hope the {device} is off
is the {device} on or off
= does the {device} still run
= did someone leave the {device} on
~ = did we [turn|switch] the {device} off
~ = is my {device} [on|running|done]
= can you see if the {device} is [on|off|running]
= how far is the {device}
""",
    "scene.night": """
= good night( everyone| house| all)
! = [i'm|i am|we're] going to bed
= [i'm|i am|we're] going to sleep
= time [for bed|to sleep|to go to bed]
= bedtime
~ = night mode
= sleep well
! = i'm off to bed
= [nighty night|night night]
= i want to sleep now
= heading to bed
= let's call it a night
= sleep mode
= i'm [really |so |]tired good night
= good night [my dear|then|now]
= i'm hitting the sack
= [i'm|we're] [gonna|going to] [sleep|go to bed|go to sleep]( now)
~ = i'll go to bed( now)
= i'll [sleep|lie down] now
~ = sleep time
= time for sleep
= [set|activate|start|switch to|turn on] [night|sleep|bedtime] mode
= [night|bedtime|sleep] scene
~ = put the house to [bed|sleep]
= see you in the morning
= sweet dreams
= the kids are going to bed
""",
    "scene.morning": """
~ = good morning( everyone| house| all)
= [i'm|i am|we're] [awake|up]
! = i just [woke up|got up]
= morning mode
= rise and shine
= i'm out of bed
= we just [woke up|got up]
~ = time to [get up|wake up]
= morning everyone
! = start the day
= a very good morning
~ = morning
= good morning [my dear|then|to you]
= [i've|we've] just [woken up|got up]
= [set|activate|start|switch to|turn on] morning mode
= morning scene
= [i'm|we're] getting up( now)
= a new day
= it's morning
= wakey wakey
= [i'm|we're] up now
~ = let's start the day
""",
    "scene.away": """
= [i'm|i am|we're|we are] leaving( now| the house)
~ = [i'm|i am|we're] going out( now)
! = [i'm|i am|we're] [off|off to work|off to school]
= [goodbye|bye|bye bye|see you later]( house| everyone)
= away mode
= i'm heading out
= [i'm|we're] on [my|our] way out
= nobody is home
= [i'm|we're] leaving home
= we'll be [away|gone] [today|for a while|all day]
~ = i'm off now
= [i'm|we're] going [shopping|to work|on holiday|on vacation]
! = we're out of the house
= [set|activate|start|switch to|turn on] [away|leaving|holiday] mode
= away scene
= [i'm|we're] going away( for a week| for a few days)
= [i'm|we're] [gone|out of here|out the door]
= i have to go to [work|school] now
= i'm going to [work|school|the office|the shops]
= we'll be back [later|tonight|tomorrow|in the evening]
= i'll be back [later|tonight|soon]
= the house is empty
~ = everyone is [out|gone|leaving]
~ = see you [later|tonight|tomorrow]
= take care of the house
= i'm leaving the [house|flat] now
""",
    "scene.home": """
! = [i'm|i am|we're|we are] [home|back|back home]
= i just [got home|came home|got back]
~ = home mode
= honey i'm home
= [i'm|we're] here again
~ = we just [got home|came home|got back]
= back from [work|school|holiday|vacation]
= [i've|we've] [arrived|arrived home]
= hello i'm back
= [set|activate|start|switch to|turn on] home mode
= home scene
= [i'm|we're] home [again|now|at last|early]
= home sweet home
~ = [i'm|we're] back [from work|from school|from holiday|again|now]
= guess who's [back|home]
! = i've come home
= we've come back
= everyone is home
~ = i'm in the house again
= [i'm|we're] finally home
= the family is [back|home]
""",
    "scene.named": """
{scene} mode
[activate|start|set|enable] [the |]{scene} [mode|scene]
[turn|switch] on {scene} mode
[turn|switch] {scene} mode on
~ [turn|switch] to {scene} mode
[put on|go to|go into] the {scene} scene
= i want {scene} mode
~ = {scene} scene( please)
= {scene} time
get [everything|the house|the room|things] ready for {sceneact}
prepare [the house|the room|everything] for {sceneact}
! = time for {sceneact}
~ = we're about to have {sceneact}
set the [mood|scene|lights] for {sceneact}
set [everything |things |it |]up for {sceneact}
! = it's time for {sceneact}
= i'm getting ready for {sceneact}
= let's get ready for {sceneact}
run the {scene} scene
load the {scene} scene
""",
    "cancel": """
= [cancel|abort]( that| it| this)
~ = never mind
= nevermind
= forget( it| that| about it)
~ = stop
= stop it
= no don't
! = no( wait)( stop)
= i didn't mean that
= i changed my mind
~ = leave it
~ = don't do that
= drop it
= undo( that| it| this)
= take that back
= wait no
! = oh forget it
= scrap that
= not that
= that's wrong
= that was wrong
~ = i don't want that
= no never mind
= sorry never mind
= oops never mind
~ = actually [no|never mind|forget it]
= not now
~ = ignore that
= ignore [me|what i said]
= cancel( please)
! = please cancel
= cancel the [command|request|order|whole thing|last one]
= abort
= stop( please)
~ = please stop
= stop that
= stop right there
= hold on
! = wait
= wait a [second|minute|moment]
= oh no stop
= oh wait
~ = no no
! = no
= nope
= no thanks
= no thank you
~ = don't
= don't do it
! = please don't
~ = forget [it|that] please
= forget about [it|that]
= forget what i [said|told you|asked]
= just forget it
= never mind that
= never mind please
= let it be
= it's [okay|fine] forget it
= it doesn't matter
= not important
= that was a mistake
= my mistake
= i made a mistake
= that's not what i [meant|said|wanted]
~ = i said the wrong thing
= wrong
= revert that
= go back to how it was
= i take it back
= i take that back
= skip the whole thing
= on second thought no
= actually don't
""",
    "clarify.time": """
~ wake me( up)
wake me( up) {aday}
set an alarm
! set an alarm {aday}
[set|make|create] an alarm for me
= i need an alarm
~ = i need an alarm {aday}
= i want an alarm
wake us( up)
= i have to get up early( {aday})
wake me( up) early( {aday})
set my alarm
! = i want to get up early( {aday})
~ change my alarm
change the alarm
move my alarm
~ = alarm please
set the alarm {aday}
add an alarm
put an alarm in
get me up {aday}
""",
    "clarify.duration": """
[set|start|create|make|begin] a timer
~ = i need a timer
= i want a timer
! = timer
= timer please
start the countdown
set a timer for me
set a timer for a while
set a {tname} timer
start a {tname} timer
= i need a {tname} timer
set a timer for the {tname}
~ = can i have a timer
give me a timer
= count down
! set the timer
start a countdown
""",
    "clarify.text": """
remind me
! set a reminder
remind me at {rtime}
~ remind me {rday}
~ remind me in {dur}
[add|create|make] a reminder
= i need a reminder
~ set a reminder for {rtime}
set a reminder {rday}
set a reminder in {dur}
remind me of something
= don't let me forget
remind me about it
! = i need a reminder at {rtime}
remind me later
= i want a reminder
~ = i need to be reminded of something
= i want to be reminded
= make a reminder for {rtime}
= reminder( please)
= reminder at {rtime}
= reminder {rday}
remind me of something {rday}
remind me to do something( {rday})
= can you remind me later
""",
    "clarify.item": """
add something to [the|my|our] {list}
~ put [something|it|that] on [the|my|our] {list}
add [it|that|this|one] to [the|my|our] {list}
put this on [the|my|our] {list}
= i want to add something to [the|my|our] {list}
remove something from [the|my|our] {list}
take [it|that|something] off [the|my|our] {list}
delete [it|that] from [the|my|our] {list}
add to [the|my|our] {list}
! change [the|my|our] {list}
= something for [the|my|our] {list}
add an item to [the|my|our] {list}
write something on [the|my] {list}
~ = i need to put something on [the|my|our] {list}
""",
    "clarify.device": """
[turn|switch] it [on|off]
! [turn|switch] [on|off]
[turn|switch] that [on|off]
[turn|switch] [on|off] [it|that|this]
[turn|switch] it [on|off] {inroom}
[turn|switch] the thing [on|off]
[turn|switch] something [on|off]
= on
~ = off
start it
put it [on|off]
activate it
switch the device [on|off]
~ shut it off
power it [on|off]
= is it [on|off]
deactivate [it|that]
turn the other one [on|off]
make it start
start the machine
~ turn on the thing {inroom}
open it
! close it
[open|close] that
= can you [turn|switch] it [on|off]
= [turn|switch] this [on|off] {inroom}
~ = it should be [on|off]
~ = i want it [on|off]
= get it started
= have it [on|off]
! = turn [it|that|this] back [on|off]
= stop the thing
~ = is that thing [on|off]
~ [turn|switch|put|power] [on|off] [the thing|it|that one|this one|something]( {inroom})
~ [turn|switch|put|power] [the thing|it|that one|this one|something] [on|off]( {inroom})
= [it|that|this|that thing] [should|must|needs to] be [on|off]
= i want [that|this|the thing] [on|off]
""",
    "clarify.color": """
! change the color
change the colour( of the {light})
change the color of the {light}( {inroom})
make the {light} [another|a different] colo[u|]r
= another colo[u|]r
~ = a different colo[u|]r
= i want another colo[u|]r
~ set the {light} to another colo[u|]r
set a colo[u|]r
give me a different colo[u|]r
switch the colo[u|]r
make it another colo[u|]r
""",
    "clarify.temp": """
set the {heat}
~ set the {heat}( {inroom})
change the {heat}( {inroom})
change the {roomadj} {heat}
adjust the {heat}( {inroom})
adjust the {roomadj} {heat}
! = set a temperature {inroom}
~ = i want a different temperature {inroom}
= a different temperature {inroom}
fix the {heat} {inroom}
set another temperature( {inroom})
= the temperature {inroom} isn't right
= the temperature is wrong {inroom}
program the {heat}
""",
    "clarify.door": """
lock it
unlock it
lock the door
! unlock the door
lock that door
unlock that door
~ lock a door
~ unlock a door
= is the door locked
= is it locked
! = did i lock it
= did i lock the door
lock one of the doors
check the door
= i want the door unlocked
= i want the door locked
""",
    "clarify.what": """
~ do the thing
do [it|that|this]
! = do something
= make it [better|nice|nicer|good|right|different|work]
= change it
fix [it|this|that]
= you know what to do
= the [usual|usual one|same as always]
= like yesterday
= the other one
~ = that one
= more
! = less
~ = a bit more
= a bit less
= i want [something|that|it|more|something else]
= help
= help me
= can you help me
~ = can you do something
= hmm
= um
= uh
! = what about it
~ = set it
= adjust it
! = {gibberish}
= {gibberish} {gibberish}
~ = {gibberish} {gibberish} {gibberish}
= do that [thing|again]
= again
= same again
= one more
= yes
! = yes please
= ok
= i don't know
= i'm not sure
= maybe
= this
= and
= the
~ = in the {room}
= {inroom}
! = the {room}
~ = what
= something
= change something {inroom}
= make it different {inroom}
= do the same {inroom}
= and {inroom}
= do whatever
= whatever
~ = do what you want
= make [things|everything|stuff] [better|nice|nicer|different]
= make it more [cosy|pleasant|beautiful|comfortable]
= change [something|that|this|things]
= can you do it
~ = could you do that
= you know
= you know the thing
= well you know
= the thing
= the thing i said
= that thing
= what i said( before)
= as always
= like before
! = like last time
~ = the same [thing|again|as before]
= repeat that
= do it again
= something [different|nice|else]
= i need [something|help|that|it]
= i want [this|the thing]
~ = please help
~ = so
= hm
= er
= well
= please
= now
= it
= that
= with the
! = for the
~ = in the
= to the
= on the {room}
= the one in the {room}
= everything
= everything {inroom}
~ = do everything
= do something {inroom}
= do it {inroom}
= fix it {inroom}
= what about {inroom}
= and the {room}
= also {inroom}
= not sure
= no idea
= i wonder
! = can you
= could you
= would you
~ = could you please
= can you please
= {gibberish} the {gibberish}
~ = the {gibberish}
= {gibberish} it
~ = please {gibberish}
= {gibberish} {gibberish} please
! = {gibberish} in the {room}
~ = [do|fix|change|make|try|set] [that|this|something|it|things|the other]( again| {inroom})
~ = [the|that|this|some] [thing|one|stuff|usual|other]( {inroom}| please| again)
~ = {gibberish} [the|and|it|that|on] {gibberish}
~ = {gibberish}( {gibberish}| please| now)
""",
    "unsupported": """
order [a pizza|pizza|some food|sushi|a taxi|a cab|flowers|dinner|a burger]
order me [a pizza|sushi|a taxi|flowers|a coffee]
book [a flight|a hotel|a table|a train|tickets|a room|a holiday]( for me| for two| to {city})
~ book me [a flight|a hotel|a train|a seat] to {city}
call [my mum|my mom|my dad|my boss|the doctor|the police|a taxi|{person}|the office]
! phone {person}
ring {person}
~ text {person}( that i'm late)
! message {person}
[send|write] [an email|a message|a text|a mail|an e-mail] to {person}
~ send {person} [an email|a message|a text|money|a photo]
= tell me a [joke|story|fun fact|riddle]
tell me [something funny|a bedtime story|about {topic}]
! sing( me)( a song| something)
= who [is|was] the [president|king|queen|prime minister] of {country}
= what is the capital of {country}
= how [big|old|far] is [the moon|the sun|{country}|{city}]
= how many people live in {city}
= who [wrote|invented|painted|discovered] {topic}
= what's {number} [times|plus|minus|divided by] {number}
~ = how much is {number} [times|plus|minus] {number}
calculate {number} [times|plus|minus] {number}
translate [hello|this|good morning|thank you] [to|into] [french|german|spanish|chinese]
= how do you say [hello|thank you|water] in [french|german|spanish|japanese]
[pay|check] [my bills|the bill|my taxes|my bank account|my balance]
transfer money to {person}
buy [stocks|shares|bitcoin|a car|a house|tickets]( for me)
= what's the [bitcoin|stock] price
= how are the stocks doing
search [the web|the internet|online|google] for {topic}
~ google {topic}
look up {topic}
find [a recipe for {item}|a restaurant|me a restaurant|a doctor|a hotel]
= how do i [cook|make|bake|clean|fix] {item}
! = give me a recipe for {item}
navigate to {city}
~ = how do i get to {city}
! = how is the traffic( to {city})
= drive me to [work|{city}|school]
= wash my [car|clothes|hair]
= clean the windows
= [walk|feed] the [dog|cat]
= feed the fish
= take a [photo|picture|selfie]
= record a video
= show me [pictures|photos|videos] of {topic}
= open [the browser|facebook|my email|youtube|the camera app]
post [this|a photo|something] on [facebook|instagram|twitter]
= read my [emails|messages|mails]
~ = read me the news
~ = what's in the news
= what's new in the world
= who won the [game|match|election|race]( yesterday)
= what's the score
= when does the [bus|train|shop|bank] [leave|open|close|come]
= what's the meaning of life
= explain {topic}( to me)
! = what is {topic}
~ = who is {person}
~ = where is {person}
= where are my [keys|glasses|socks]
= what do you think about {topic}
= write [a poem|a letter|an essay|code|a song]( about {topic})
! = do my homework
= teach me {topic}
= what should i [eat|cook|wear|read|watch]( tonight| today)
= download [an app|the update|a movie]
= restart the [router|computer|phone]
= install the update
= turn off the [internet|wifi|alarm system]
= open the [fridge|car|safe]
= water the [plants|flowers]
= mow the lawn
= make me [a sandwich|breakfast|dinner|a cocktail|tea]
= bring me [a beer|my phone|a glass of water]
= print [my ticket|this document|the page]
= scan this document
= how tall is {person}
= spell {topic}
= define {topic}
= how many calories are in {item}
= convert {number} [miles|dollars|pounds] [to|into] [kilometers|euros|kilos]
~ = play a game( with me)
~ = let's play chess
= flip a coin
= roll a dice
= what's my horoscope
= add a meeting [to my calendar|with {person}]
~ = what's on my calendar
= when is my next [meeting|appointment]
~ = call me a doctor
~ = find my phone
order [more |][toner|ink|books|shoes|a present|groceries] online
get me [a taxi|a cab|an uber|a pizza|a burger|a drink|something to eat]
~ = i'd like to order [a pizza|sushi|some food|a taxi]
! = i want to book [a flight|a hotel|a table] to {city}
reserve [a table|a room|a seat|two seats]( for tonight| for two| in {city})
call [the plumber|the hospital|the fire brigade|my sister|my brother|home|work|the restaurant]
~ = i need to speak to {person}
= can i talk to {person}
dial [the number|my voicemail|the police]
send a [text|message|letter|fax] saying [i'm late|hello|thank you]
email {person} that i'm [sick|late|coming]
forward [the mail|this message] to {person}
answer the phone
hang up
~ = who [was|is] {person}
= when was {person} born
= when did [the war|the second world war|the cold war] [start|end]
! = where is {city}
~ = how far is it to {city}
= what language do they speak in {country}
= what is the population of {country}
= what currency do they use in {country}
= what is the [highest mountain|longest river|largest city] [in {country}|in the world]
= how [deep|big|large|heavy] is [the ocean|a whale|an elephant|the earth]
= why is the sky blue
= why do [cats|dogs|birds] [purr|bark|sing]
= how does [a car|the internet|a plane|a battery|gravity] work
= what's the square root of {number}
= what is {number} percent of {number}
~ add {number} and {number}
divide {number} by {number}
= how many [feet|inches|ounces|cups] are in a [mile|meter|pound|liter]
= what does {topic} mean
= what's the [french|german|spanish] word for [house|dog|water|bread]
! = speak [french|german|spanish|chinese]( with me)
~ = how much money do i have
= what's my [account balance|bank balance|phone number|password|address]
~ = pay {person} {number} [euros|dollars|pounds]
= find out [who|when|where|why] {person} [is|was|called]
! = search for {topic}
~ = show me {topic}
= show me the way to {city}
= find [a gas station|a parking space|a pharmacy|an atm|a supermarket]( near me| nearby)
= where is the nearest [pharmacy|hospital|atm|bus stop]
= is there [a traffic jam|much traffic]( to {city})
! = when is the next [bus|train|flight]( to {city})
= is the [supermarket|pharmacy|library|bank] open( today| now)
iron my [shirts|trousers]
do the dishes
fold the laundry
paint the fence
cook [dinner|lunch|something|pasta]( for me)
bake [a cake|bread|cookies]( for me)
fetch [the newspaper|the mail|my shoes|a beer]
open a [window|bottle|can|beer]
~ = make [a video|a photo|a phone call|a film]
= edit [my photo|the video]
= read [me |][a book|a story|the newspaper|the paper|a poem]
= what are the [headlines|news]( today)
= what happened in {country}( today)
= who is winning
! = did [we|they|{country}] win( the match| the game)
= what's the [price of gold|dollar rate|exchange rate]
= should i [marry {person}|quit my job|buy a car|sell my house]
= who will win the election
= what's the best [film|book|restaurant|car|phone]
= recommend [a movie|a book|a restaurant|a wine]( to me)
= help me with my [homework|taxes|essay|maths]
= correct my [essay|spelling|text]
= summarize [this|the article|the book]
= write a [song|story|speech|tweet|report] about {topic}
~ delete [my account|my emails|all my photos|this app]
~ install [an app|a game|windows]
update [the software|my phone|the app]
= what's my battery level
= is the wifi working
= connect to [the wifi|bluetooth|my phone]
~ = take me to {city}
= park the car
! = start the car
= how many steps did i take
= what's my heart rate
= how do i [lose weight|learn {topic}|get rich|tie a tie]
= play [chess|cards|a game|hide and seek] with me
= tell me a [tongue twister|secret|ghost story]
= toss a coin
= pick a [number|card]( for me)
= give me a random number
~ = [what's|how much is|what is|tell me|calculate|work out] {number} [plus|minus|times|divided by|and] {number}
~ = [let's|can we|i want to|we could] play [chess|cards|a game|a board game|hide and seek|tennis]
~ [book|reserve|get|find] [me|us] [a flight|a hotel|a seat|a table|a train|a ticket|tickets]( to {city}| in {city})
~ [delete|close|open|remove|change] my [account|emails|photos|email|profile|password]
~ [install|update|download|buy|start] [an app|a game|windows|the app|the software|the update|a new app]
~ = [what's|what is|tell me what's|read me what's] [in the news|new today|on the news|on at the cinema|on tv tonight]
~ [call|ring|phone|text|message|email|contact|facetime] [{person}|my boss|my mother|my brother|the office|the doctor|the school|the neighbours]
~ = [who|what|where] [is|was|are|were] [{person}|{topic}|{city}|{country}]
~ [order|get|buy|bring] [me|us] [a pizza|some sushi|a taxi|a coffee|some food|a beer|flowers]
~ = [how|why|when|where] [does|did|do|is|was] {topic} [work|start|end|happen|exist]
~ [write|read|tell|sing|send] [me|us|{person}] [a poem|a story|a song|a letter|a joke|an email]( about {topic})
""",
    "smalltalk": """
~ = [hello|hi|hey]( there)
= hi there how are you
= how are you( doing)( today)
! = [thanks|thank you]( very much| so much| a lot)
~ = thanks that's great
= [well done|good job|nice work|great|perfect|awesome|cool]
~ = who are you
= what's your name
= what are you( called)
! = what can you do
= are you [a robot|human|there|real|awake|listening]
~ = [i love you|i like you]
= you're [great|funny|stupid|the best|nice|clever]
= do you like [me|music|pizza]
= how old are you
= where do you come from
= nice to meet you
! = that's [nice|great|good|funny|cool]
= i'm [bored|happy|sad|tired|hungry]
= haha
= lol
~ = have a nice day
~ = what's up
= how's it going
! = who made you
~ = do you sleep
~ = are you happy
= good [afternoon|evening]
= you are welcome
! = i hate you
= can you hear me
= tell me about yourself
= what do you do all day
= thank you so much( for your help)
= many thanks
= thanks a lot
= cheers
= you [rock|are amazing|are smart|did well]
= that was [great|perfect|helpful|fun]
= that's very [kind|helpful|nice]( of you)
= i'm fine
= i'm [very |really |so |][bored|happy|sad|tired|hungry|lonely|angry|excited]
~ = i feel [good|bad|great|sad|lonely]
~ = how was your day
= how do you feel( today)
= what's your favourite [color|song|film|food]
= do you have [friends|a family|feelings|a name|hobbies]
= what do you like
= are you [smart|alive|a computer|a machine|angry|married]
= where do you live
= where are you( from)
~ = when is your birthday
= do you [know|love|hate|remember|understand] me
= i [love|like|hate] [you|this|it here]
= who [built|made|created|programmed] you
! = what is your job
= hello hello
= hey you
= hiya
= howdy
= greetings
= nice [day|weather] today isn't it
= sounds good
~ = very good
= wow
= oh my god
= that's [amazing|bad|stupid|sad|funny|interesting]
= what a [day|mess|surprise]
= life is [good|hard|strange]
= you're my [friend|hero]
= sorry
= i'm sorry
= no problem
= happy birthday
= merry christmas
= happy new year
! = how nice
= are you still there
= can we talk
~ = talk to me
= let's chat
~ = tell me [something|how you are|who you are]
~ = [i'm|i am|we're] [bored|happy|sad|tired|hungry|lonely|excited|angry|sick|fine|well]( today| again| now)
~ = [you're|you are|that's|that was|this is] [great|nice|funny|stupid|clever|cool|perfect|awesome|lovely|sweet]
~ = [thanks|thank you|many thanks|cheers]( so much| very much| a lot| for your help| for everything| my friend)
~ = [do|can|will] you [sleep|dream|eat|think|laugh|feel|love me|like me|hear me|miss me|know me]
~ = [what|who] [are you|made you|is your name|is your boss|do you like|do you think]
""",
    "two": """
! {cmd} and {cmd2}
~ {cmd} and then {cmd2}
{cmd} and also {cmd2}
{cmd} then {cmd2}
first {cmd} then {cmd2}
{cmd}, {cmd2}
{cmd} but {cmd2}
{cmd} and after that {cmd2}
{cmd} as well as {cmd2}
{cmd} plus {cmd2}
both {cmd} and {cmd2}
{cmd} and while you're at it {cmd2}
~ {cmd} and {cmd2} too
""",
}

# Foreign utterances: answered with the language's code. Slots are filled with the words below.
FOREIGN = {
    "de": """
~ mach das licht {in} an
! mach das licht {in} aus
~ schalte die lampe {in} ein
schalte bitte das licht {in} aus
kannst du bitte {in} das licht anmachen
~ mach es {in} etwas wärmer
es ist mir zu kalt {in}
~ mir ist kalt
dreh die heizung {in} hoch
dreh bitte die heizung runter
~ stell die heizung auf {n} grad
weck mich um {n} uhr
wecke mich morgen um halb {n}
! stell einen wecker auf {n} uhr
stelle einen timer auf {n} minuten
~ spiel etwas musik
spiele musik {in}
mach die musik lauter
mach die musik leiser
! wie warm ist es {in}
~ wie ist das wetter heute
wie wird das wetter morgen
wie spät ist es
welcher tag ist heute
schließ die haustür ab
~ ist die haustür abgeschlossen
! setze {item} auf die einkaufsliste
wir brauchen {item}
erinnere mich um {n} uhr daran die wäsche aufzuhängen
fahr die rollläden {in} hoch
mach die jalousien zu
öffne die vorhänge {in}
gute nacht
guten morgen
danke schön
was steht auf der einkaufsliste
ich möchte {item} kaufen
kannst du mir helfen
ich verstehe dich nicht
~ schalte den fernseher aus
alles ausmachen bitte
bitte mach das fenster auf
wo ist mein schlüssel
ich gehe jetzt schlafen
wir sind wieder zu hause
~ nein das will ich nicht
stopp die musik
nächstes lied bitte
könntest du bitte die lampe {in} ausschalten
bitte licht an {in}
licht aus {in}
ich brauche mehr licht {in}
es ist viel zu dunkel {in}
es ist zu hell {in}
~ ich hätte gern {n} grad {in}
bitte ein bisschen kühler {in}
mach es nicht so heiß {in}
! ich muss morgen um {n} uhr aufstehen
lösche alle wecker
wann klingelt mein wecker
wie lange läuft der timer noch
was läuft gerade
spiel das nächste stück
pause bitte
schreib {item} auf den zettel
~ haben wir noch {item}
! vergiss nicht {item} zu kaufen
ist das licht {in} noch an
habe ich den herd ausgemacht
~ mach die tür auf
! wird es morgen regnen
wie viel grad sind es {in}
erzähl mir einen witz
ruf meine mutter an
bestell mir eine pizza
~ was kannst du
vielen dank für deine hilfe
ich bin müde und will ins bett
hallo wie geht es dir
stell die lautstärke auf {n}
starte den staubsauger
schalte die kaffeemaschine an
um wie viel uhr soll ich dich wecken
das ist mir zu laut
""",
    "fr": """
allume la lumière {in}
éteins la lumière {in}
peux-tu allumer la lampe {in}
éteignez les lumières s'il vous plaît
! mets le chauffage à {n} degrés
il fait trop froid {in}
j'ai froid
augmente la température {in}
baisse le chauffage s'il te plaît
~ un peu plus chaud {in}
~ réveille-moi à {n} heures
réveille-moi demain à {n} heures et demie
! mets un réveil pour {n} heures
mets un minuteur de {n} minutes
joue de la musique
~ mets de la musique {in}
monte le son
! baisse le volume
quelle température fait-il {in}
quel temps fait-il aujourd'hui
quel temps fera-t-il demain
quelle heure est-il
quel jour sommes-nous
ferme la porte à clé
est-ce que la porte est fermée
ajoute {item} à la liste de courses
nous avons besoin de {item}
rappelle-moi d'appeler maman à {n} heures
~ ouvre les volets {in}
ferme les rideaux {in}
ouvre les stores
bonne nuit
bonjour
merci beaucoup
~ qu'est-ce qu'il y a sur la liste
je voudrais acheter {item}
peux-tu m'aider
je ne comprends pas
éteins la télévision
chanson suivante
arrête la musique
je vais me coucher
nous sommes rentrés à la maison
~ non ce n'est pas ça
où sont mes clés
il fait sombre {in}
plus de lumière {in}
pourrais-tu éteindre la lampe {in}
allume {in} s'il te plaît
! il me faut plus de lumière {in}
c'est trop sombre {in}
~ c'est trop fort
! je voudrais {n} degrés {in}
~ un peu moins chaud {in} s'il te plaît
~ on a trop chaud {in}
je dois me lever demain à {n} heures
supprime toutes les alarmes
à quelle heure sonne mon réveil
combien de temps reste-t-il
qu'est-ce qui passe en ce moment
passe au morceau suivant
mets en pause
~ écris {item} sur la liste
est-ce qu'il reste {item}
n'oublie pas d'acheter {item}
! est-ce que la lumière est allumée {in}
~ est-ce que j'ai éteint le four
~ ouvre la porte d'entrée
! est-ce qu'il va pleuvoir demain
combien de degrés fait-il {in}
raconte-moi une blague
appelle ma mère
commande-moi une pizza
~ que peux-tu faire
merci pour ton aide
je suis fatigué et je veux dormir
salut comment ça va
règle le volume à {n}
lance l'aspirateur
~ allume la machine à café
tout éteindre maintenant
tu peux fermer le garage
je ne veux plus de musique
""",
    "es": """
enciende la luz {in}
apaga la luz {in}
~ puedes encender la lámpara {in}
~ apaga todas las luces por favor
pon la calefacción a {n} grados
hace mucho frío {in}
tengo frío
sube la temperatura {in}
baja la calefacción por favor
un poco más caliente {in}
despiértame a las {n}
despiértame mañana a las {n} y media
pon una alarma a las {n}
pon un temporizador de {n} minutos
pon música
reproduce música {in}
sube el volumen
baja el volumen
qué temperatura hace {in}
qué tiempo hace hoy
~ qué tiempo hará mañana
qué hora es
! qué día es hoy
cierra la puerta con llave
está cerrada la puerta
añade {item} a la lista de la compra
necesitamos {item}
recuérdame llamar a mamá a las {n}
sube las persianas {in}
cierra las cortinas {in}
~ abre las persianas
buenas noches
buenos días
muchas gracias
qué hay en la lista
quiero comprar {item}
puedes ayudarme
no entiendo
! apaga la televisión
siguiente canción
para la música
~ me voy a dormir
ya estamos en casa
~ no quiero eso
dónde están mis llaves
está muy oscuro {in}
! más luz {in}
podrías apagar la lámpara {in}
luz encendida {in} por favor
necesito más luz {in}
~ hay demasiada luz {in}
está demasiado alto
~ quiero {n} grados {in}
! un poco menos de calor {in}
tenemos mucho calor {in}
mañana tengo que levantarme a las {n}
borra todas las alarmas
~ a qué hora suena mi alarma
cuánto tiempo queda
qué está sonando ahora
pasa a la siguiente canción
haz una pausa
apunta {item} en la lista
! queda algo de {item}
~ no olvides comprar {item}
~ está encendida la luz {in}
he apagado el horno
abre la puerta principal
va a llover mañana
~ cuántos grados hay {in}
cuéntame un chiste
llama a mi madre
pídeme una pizza
! qué puedes hacer
gracias por tu ayuda
estoy cansado y quiero dormir
hola cómo estás
~ pon el volumen al {n}
arranca la aspiradora
! enciende la cafetera
apaga todo ahora
puedes cerrar el garaje
~ ya no quiero más música
""",
    "it": """
accendi la luce {in}
spegni la luce {in}
puoi accendere la lampada {in}
spegni tutte le luci per favore
~ metti il riscaldamento a {n} gradi
fa troppo freddo {in}
ho freddo
alza la temperatura {in}
abbassa il riscaldamento per favore
! un po' più caldo {in}
svegliami alle {n}
~ svegliami domani alle {n} e mezza
! imposta una sveglia per le {n}
~ imposta un timer di {n} minuti
metti un po' di musica
! riproduci musica {in}
alza il volume
abbassa il volume
~ quanti gradi ci sono {in}
che tempo fa oggi
~ che tempo farà domani
~ che ore sono
! che giorno è oggi
~ chiudi la porta a chiave
la porta è chiusa
aggiungi {item} alla lista della spesa
abbiamo bisogno di {item}
ricordami di chiamare la mamma alle {n}
~ alza le tapparelle {in}
chiudi le tende {in}
apri le persiane
buona notte
buongiorno
grazie mille
cosa c'è sulla lista
! vorrei comprare {item}
puoi aiutarmi
non capisco
~ spegni la televisione
prossima canzone
ferma la musica
! vado a dormire
siamo tornati a casa
non voglio questo
dove sono le mie chiavi
è troppo buio {in}
più luce {in}
~ potresti spegnere la lampada {in}
luce accesa {in} per favore
mi serve più luce {in}
~ c'è troppa luce {in}
è troppo forte
vorrei {n} gradi {in}
un po' meno caldo {in}
abbiamo molto caldo {in}
domani devo alzarmi alle {n}
cancella tutte le sveglie
! a che ora suona la mia sveglia
quanto tempo manca
~ che cosa stai suonando
passa alla canzone successiva
metti in pausa
~ scrivi {item} sulla lista
è rimasto del {item}
non dimenticare di comprare {item}
la luce è accesa {in}
ho spento il forno
apri la porta d'ingresso
pioverà domani
quanti gradi fa {in}
raccontami una barzelletta
chiama mia madre
ordinami una pizza
che cosa sai fare
grazie per il tuo aiuto
sono stanco e voglio dormire
ciao come stai
imposta il volume al {n}
avvia l'aspirapolvere
accendi la macchina del caffè
spegni tutto adesso
puoi chiudere il garage
~ non voglio più musica
""",
}

FOREIGN_SLOTS = {
    "de": {
        "in": "im wohnzimmer|in der küche|im schlafzimmer|im bad|im flur|im büro|im keller|im kinderzimmer|draußen|hier",
        "n": "sechs|sieben|acht|zehn|zwölf|zwanzig|fünf|7|8|15|21|22|neun|elf",
        "item": "milch|brot|eier|butter|käse|äpfel|kaffee|zwiebeln|mehl|nudeln",
    },
    "fr": {
        "in": "dans le salon|dans la cuisine|dans la chambre|dans la salle de bain|dans le couloir|au bureau|à la cave|dehors|ici",
        "n": "six|sept|huit|dix|douze|vingt|cinq|7|8|15|21|22|neuf|onze",
        "item": "du lait|du pain|des œufs|du beurre|du fromage|des pommes|du café|de la farine|des pâtes",
    },
    "es": {
        "in": "en el salón|en la cocina|en el dormitorio|en el baño|en el pasillo|en la oficina|en el sótano|fuera|aquí",
        "n": "seis|siete|ocho|diez|doce|veinte|cinco|7|8|15|21|22|nueve|once",
        "item": "leche|pan|huevos|mantequilla|queso|manzanas|café|harina|cebollas",
    },
    "it": {
        "in": "in soggiorno|in cucina|in camera da letto|in bagno|nel corridoio|in ufficio|in cantina|fuori|qui",
        "n": "sei|sette|otto|dieci|dodici|venti|cinque|7|8|15|21|22|nove|undici",
        "item": "latte|pane|uova|burro|formaggio|mele|caffè|farina|cipolle",
    },
}

# What may stand around an imperative. "@" is the imperative.
CARRIERS = """
@
please @
@ please
can you @
! can you please @
could you @
could you please @
could you @ please
! can you @ please
! would you @
! would you please @
will you @
hey @
hey can you @
! ok @
okay @
ok now @
i want you to @
i'd like you to @
! i need you to @
you can @
! you should @
! @ now
@ right now
@ thanks
@ thank you
@ for me
@ for me please
@ will you
just @
please just @
now @
so @
um @
uh @
uhm could you @
hello @
hi could you @
hi please @
assistant @
computer @
hey assistant @
alright @
well @
and @
go ahead and @
quickly @
kindly @
be so kind and @
be a dear and @
do me a favour and @
do me a favor and @
i was wondering if you could @
i wonder if you could @
! is it possible to @
would it be possible to @
it would be great if you could @
it would be nice if you could @
! would you be able to @
are you able to @
! maybe you could @
maybe @
! let's @
we'd like you to @
time to @
i think you should @
if you can @
if possible @
@ if you can
@ if you don't mind
! @ if possible
@ would you
@ quickly
@ at once
@ immediately
@ when you can
@ okay
! @ ok
sorry can you @
excuse me could you @
listen @
house @
hey house please @
dear assistant @
my friend @
oh and @
oh @
! oh please @
one more thing @
yes @
yes please @
yeah @
"""

# What may stand before or after a whole sentence.
SENTENCE_CARRIERS = """
@
@
@
@
! hey @
um @
uh @
ok @
oh @
! so @
well @
! @ please
hello @
assistant @
hey assistant @
computer @
! @ now
@ right now
@ thanks
listen @
excuse me @
i think @
you know @
hi @
house @
sorry @
just so you know @
by the way @
"""
