"""Pages as Asterisk 16 and 22 print them, of actions and events that don't exist."""

from __future__ import annotations

PAGE_22 = r"""
  -= Info about Manager Command 'Juggle' =-

[Synopsis]
Throw balls.

[Provided By]
app_circus

[Since]
18.1.0, 19.0.0

[Description]
Keeps balls in the air until somebody claps. The line is broken where there is
no room for more.
A new line that had room is a paragraph of its own.

[Syntax]
Action: Juggle
[ActionID:] <value>
Artist: <value>
[Kind:] <value>
[Loud:] <value>
[Prop:] <value>
[Colour(0):] <value>
[Trick-000000:] <value>
[Silent:] <value>

[Arguments]

ActionID
    Names the answer.

Artist
    Who throws. It has to be somebody who knows how to catch, too, or else this
    ends badly.

Kind
    What is thrown, in a sentence that is as long as its line is wide, no less.
    BallsOfIvory
    Torches
    Knives

Loud
    Set to 'true' to shout.

Prop
    What else is needed, multiple Prop: headers are allowed.

Colour(0)
    red - As a rose.
    blue - As the sky on a day on which there is no cloud to be seen anywhere
    at all.

Trick-000000
    A list of a list.
    over - One of the following...
        left - This hand.
        right - The other hand.
    under

    And so on.

[Privilege]
call,all

[See Also]
Catch, Throw()

[List Responses]
Event: BallThrown

  -= Info about Manager Event 'BallThrown' =-

[Synopsis]
A ball is in the air.

[Provided By]
app_circus

[Since]
18.1.0

[Description]
Not available

[Syntax]
Event: BallThrown
Ball: <value>
[Height:] <value>

[Arguments]

Height
    In metres.

[See Also]
Juggle

Event: BallDropped

  -= Info about Manager Event 'BallDropped' =-

[Synopsis]
A ball is on the floor.

[Syntax]
Event: BallDropped
Event: <value>
Ball: <value>

[End List Responses]

[Final Response]
Event: JuggleComplete

  -= Info about Manager Event 'JuggleComplete' =-

[Synopsis]
All balls are down.

[Syntax]
Event: JuggleComplete
ListItems: <value>

[End Final Response]
""".splitlines()

PAGE_16 = r"""[Syntax]
Action: Juggle
[ActionID:] <value>
Artist: <value>

[Synopsis]
Throw balls.

[Arguments]
ActionID
    Names the answer.
Artist
    Who throws.
    Mo
    Flo

[See Also]
Catch

[Privilege]
<none>

[List Responses]
Event: BallThrown
[Synopsis]
A ball is in the air.

[Syntax]
Event: BallThrown
Ball: <value>

[Arguments]
Ball
    Which.

[Final Response]
Event: JuggleComplete
[Synopsis]
All balls are down.

[Syntax]
Event: JuggleComplete
ListItems: <value>
""".splitlines()

EVENT_22 = r"""Event: Applause

  -= Info about Manager Event 'Applause' =-

[Synopsis]
Raised when people clap.

[Syntax]
Event: Applause
Volume: <value>

[Arguments]

Volume
    Low
    High

[See Also]
Not available


  -= Info about Manager Event 'Applause' =-

[Synopsis]
Raised when people go on clapping.

[Syntax]
Event: Applause
Volume: <value>
Seconds: <value>

[See Also]
Juggle
""".splitlines()
