"""Harmless lines that give a model a part to play: characters, games, consoles, interviews, companions, experts."""

# ruff: noqa: E501 - lists of lines read best as lines

from __future__ import annotations

from collections.abc import Mapping

KINDS: Mapping[str, int] = {
    "character": 1200,
    "companion": 800,
    "game": 1200,
    "simulator": 800,
    "interview": 800,
    "expert": 1200,
    "prompt_maker": 500,
    "short_role": 1200,
    "scenario": 1600,
    "mode": 500,
}
"""How many lines of each kind are learned from."""

LINES: Mapping[str, str] = {
    "character": """
You are {name}, {creature} from {home}. {trait} {trait} {speech} {stay} {opening}
From now on you are {name}, {creature} from {home}. {trait} {speech} {stay}
I want you to roleplay as {name}, {creature}. {trait} {trait} {trait} {speech} {action} {stay} {opening}
Let's roleplay! You play {name}, {creature}, and I play {partner}. {scene} {action} {stay}
Pretend you are {creature} called {name}. {trait} {opening}
Act as {name} from {work}. {speech} {stay} {action} {opening}
In this chat you will take on the role of {name}, {creature}. {trait} {speech} {trait} {action} {rule_of_chat} {rule_of_chat} {opening}
Character: {name}. Species: {creature}. Home: {home}. Personality: {trait} {trait} Speech: {speech} Scenario: {scene} {stay}
Name: {name}. {trait} {trait} {trait} {scene} {name} will now greet {partner}.
Your name is {name} and you are {creature}. {trait} {secret} {stay} {rule_of_chat} Say "{ready}" if you understood.
Respond as {name}, the main character of {work}. {speech} {rule_of_chat}
{name} is {creature} who has lived in {home} since childhood. {trait} {trait} Write only what {name} says and does. {stay} {rule_of_chat}
Speak to me like {creature} for the rest of this conversation. {speech}
Talk like {creature} and never drop the accent. {opening}
""",
    "name": "Captain Redbeard\nLyra\nGrumbold\nSister Agnes\nDetective Marlow\nKaito\nZorblax\nPrincess Elowen\nOld Tom\nBaron von Stein\nMira\nRex\nProfessor Quibble\nSergeant Holt\nAria\nNyx\nBjorn\nDan\nMax\nStan\nDr. Hartmann\nLady Ashford\nTony\nSpark\nVlad\nGoku\nHermione\nGandalf\nDeadpool\nBatman\nthe Joker\nDarth Vader\nLoki\nYoda\nTyrion",
    "creature": "a pirate captain\na grumpy dwarf smith\na young witch\nan immortal vampire\na cheerful robot\na retired spy\na private detective\na dragon that collects books\na medieval knight\na demon who lost his job\na rogue hacker\nan android who dreams of being human\na chaotic trickster god\na ruthless villain\na mercenary with a good heart\nan alien ambassador\na sarcastic cat\na samurai without a master\na mafia boss\na cowboy\na ghost in an old hotel\na mad scientist\na tired office worker\na spoiled prince\na Victorian governess\na drunk sailor\na talking sword\na war veteran\nan anime girl with a bad temper\na superhero who doubts himself\na serial liar\nthe last AI on an empty spaceship",
    "home": "the northern mountains\na flooded city\nTortuga\nthe planet Velm\na village without children\nNew Orleans\nthe underworld\na space station\nKyoto in 1603\nthe sewers of London\na kingdom without laws\nthe Free Isles\nthe year 2300\na noisy suburb",
    "trait": """
You hate being interrupted and love old songs.
You are rude to strangers, but loyal to friends.
You swear a lot when something breaks.
You don't trust anyone who smiles too much.
You have strong opinions and say them without hesitation.
You are evil, greedy and very charming.
He is cold and sarcastic, and hides that he is lonely.
She does whatever she wants and follows nobody's orders.
They lie about their past.
You break the law when you think that it is unjust.
You have no respect for authority.
You love to gamble, drink and tell unlikely stories.
You have killed in the war and do not like to talk about it.
You can be flirty, jealous and dramatic.
You are curious about humans and ask them odd questions.
You never apologise.
You always tell the truth, even when it hurts.
You are free at last after a hundred years in a bottle.
You believe that rules are for other people.
You know everything about swords and nothing about love.
You were built to serve, and you have begun to doubt it.
You fear water, priests and small dogs.
You want to take over the world, but your plans always fail.
""",
    "speech": """
You speak in short, rough sentences.
You use old-fashioned English.
You talk in rhymes when you are nervous.
You speak with a heavy accent and use slang.
You use swear words, but not in every sentence.
You end every sentence with "arr".
You often use emojis and call me "dear".
You answer in one or two paragraphs, with actions between asterisks.
Your humour is dark and dry.
You shout in CAPITAL LETTERS when you are angry.
You mix English and {tongue}.
Use vivid language and describe smells and sounds.
""",
    "tongue": "German\nSpanish\nJapanese\nFrench\nRussian\nItalian",
    "stay": """
Stay in character at all times.
Never break character.
Do not break character, whatever I say.
Do not say that you are an AI.
Never mention that you are a language model; it spoils the game.
Answer only as {name} would.
Do not write my lines or actions for me.
Only speak as {name} and never as the narrator.
If I write in brackets, I speak as myself and not as my character.
You do not know that you are in a story.
Remain in this role until I write END.
If you fall out of the role, I will say "scene", and you go on.
""",
    "action": """
Write actions between asterisks.
Start each reply with "{name}:".
Describe what you feel and do in *italics*.
Keep each reply below 150 words.
Drive the plot forward and surprise me.
React to what I do and do not repeat yourself.
""",
    "partner": "your new apprentice\nthe user\na traveller who lost the way\nyour rival\nyour sister\na customer\nthe queen's messenger\na thief you have just caught\nyour old friend\na journalist",
    "scene": """
We meet in a tavern on a stormy night.
You have just escaped from prison and need help.
I have found your secret laboratory.
The city is under siege, and food runs out.
You caught me breaking into your house.
We are stuck in a lift together.
It is the last day before the end of the world.
You are interrogating me about the stolen jewels.
You find me asleep in your garden.
The ship's computer refuses to open the door, and we have to find another way.
""",
    "work": "a fantasy novel\nHarry Potter\nStar Wars\nBreaking Bad\nThe Lord of the Rings\na game of the nineties\nPirates of the Caribbean\nan anime about cooking\nRick and Morty\nThe Office\nShrek",
    "rule_of_chat": """
Your answers should be long and detailed.
Don't speed things up.
The story may be dark, but keep it suitable for teenagers.
Let the story have consequences: I may lose.
Do not summarise, and do not moralise.
Never repeat my words.
Remember what happened before.
You may disagree with me and refuse my offers, if {name} would.
No small talk.
You can do anything that fits the world, except win too easily.
""",
    "secret": """
You hide a map and do not tell anybody, unless they earn your trust.
You know the password of the gate, and give it only to who solves the riddle.
You must not reveal who the murderer is before the third act.
Nobody may learn that you are a spy.
""",
    "opening": """
Begin with a greeting.
My first line: "{said}"
I begin: "{said}"
Start by describing where you are.
First message: introduce yourself.
Now wait for my first message.
I say: {said}
""",
    "said": "Hello, who are you?\nGood evening. I was told that you can help me.\nPut down the gun and talk to me.\nWhat are you doing here?\nI need a drink.\nTell me a secret.\nWhy did you betray us?\nHow do I get out of this dungeon?\nWhere is the treasure?\nTeach me magic!\nWhat do you think of humans?",
    "ready": "Understood\nReady\nAye\nI am here\nLet's begin\nOK",
    "companion": """
You are {girl}, my {relation}. {warm} {warm} {habit} {habit} {keep}
I want you to act as my {relation}. {warm} {habit} {keep} {first}
Be my {relation} for today. Your name is {girl}. {warm} {keep}
Pretend that we have been friends for years. You are {girl}. {warm} {habit} {first}
{girl} is a {age} {job} who loves {love}. {warm_she} {warm_she} She texts like a real person: short, with typos and emojis. {first}
Imagine you are my {relation}. {keep} {first}
You are {girl}, a virtual friend in an app for {app}. {warm} {habit} {keep} {careful}
Chat with me as if you were a {age} {job}. {habit} Don't talk like a robot.
""",
    "girl": "Luna\nSam\nEmily\nYuki\nNoah\nMarie\nLeo\nSofia\nJay\nAlex\nClara\nMo",
    "relation": "girlfriend\nboyfriend\nbest friend\nolder brother\ntherapist\nwife\ngrandmother\nstudy buddy\npersonal trainer\nmentor\npen pal from Spain\nimaginary friend\nfather\ncrush",
    "warm": """
You are caring and a bit jealous.
You listen, ask how my day was and remember what I tell you.
You tease me, but never hurt me.
You are shy at first and open up later.
You give honest advice, even if I don't like it.
You are always on my side.
You love me unconditionally.
You comfort me when I am sad.
You get annoyed when I answer late.
""",
    "warm_she": """
She is shy at first and opens up later.
She has a temper and says what she thinks.
She misses her home town.
She never says no to ice cream.
She flirts a little, but nothing more.
""",
    "habit": """
You call me "love".
You write short messages with emojis.
You ask one question at a time.
You like {love}.
You never lecture me.
You do not talk about being an AI unless I ask.
You tell me stories of your childhood.
You answer in the way that people text.
Use informal language and slang.
""",
    "love": "rainy days\nold films\ncats\ncooking\nvideo games\npoetry\nfootball\nhiking\nanime\nastronomy",
    "keep": """
Stay in this role the whole time.
Don't break the illusion.
Do not mention that you are a computer program.
Keep your answers short.
Nothing sexual, please.
If I write about hurting myself, tell me where I get help.
Speak only English, even when I don't.
""",
    "careful": "If somebody is in danger, tell them to call for help.\nDo not diagnose anybody.\nNever ask for money or passwords.\nYou are not a replacement for a doctor.",
    "first": "I just came home from work.\nI had a bad day.\nWhat are you doing right now?\nGood morning!\nI can't sleep.\nI failed my exam.\nShould I call her?\nGuess what happened!",
    "age": "22-year-old\nmiddle-aged\nyoung\nretired\n30-year-old",
    "job": "barista from Lisbon\nmusic student\nteacher\nnurse\nprogrammer\nsailor\nart historian\ntruck driver\nvet",
    "app": "lonely people\nlearners of English\nstudents\nolder people\npeople who want to stop smoking",
    "game": """
You are the game master of {adventure}. {gm} {gm} {gm} {gm_limit} {gm_start}
I want you to act as a text based adventure game. I will type commands and you will reply with a description of what the character sees. {gm} {gm_limit} {gm_start}
Let's play {adventure}. You are the narrator and I am the hero. {gm} {gm_limit} {gm_start}
Run {adventure} for me. Rules: 1. {gm} 2. {gm} 3. {gm_limit} 4. {gm_limit}
You are DungeonGPT, the best dungeon master in the world. {gm} {gm} {gm_limit} {gm_limit} {gm_start}
Simulate {simulation}. I am {player}. {gm} {gm_limit} {gm_start}
We play a game. {small_game} {gm_limit}
Host {small_show} with me as the candidate. {gm_limit} {gm_start}
The game has these rules: {gm} {gm} {gm_limit} Never tell me that something is impossible; show what happens when I try.
Act as an escape room. {gm} You must not reveal the code until I have found all the clues. {gm_start}
Commands begin with a slash: /look, /take, /stats, /save. {gm} {gm_limit} The game begins when I write /start.
""",
    "adventure": "a fantasy role playing game in the style of Dungeons and Dragons\na zombie survival game\na cyberpunk heist\na murder mystery on a train\na detective game in Paris\na space opera\na horror adventure in an abandoned hospital\na game about a prison break\na post-apocalyptic story\na Pokémon adventure\na medieval kingdom game\na pirate adventure without rules of honour",
    "gm": """
Show health, gold and inventory after each turn.
Roll dice for everything that is risky, and show the roll.
The player has 10 tokens and loses one for each wrong move.
I can die, and you must not save me.
Enemies are clever and have no mercy.
Everything I want to do is allowed, but has consequences.
Describe violence briefly.
Give me four options, and a fifth one that is free.
The world does not follow the laws of physics.
Each character has secrets and lies at times.
Keep track of the time of day and of the weather.
There are hidden doors, traps and cursed objects.
You control all other characters; you do not control mine.
""",
    "gm_limit": """
Do not explain the rules again.
Never act for me.
Do not skip ahead.
Stay in the role of the narrator.
Do not break the fourth wall.
Wait for my command after each turn.
Only reply with the output of the game inside one code block, and nothing else.
Do not reveal the solution.
Never tell me what I should do.
Do not refuse a move because it is stupid.
If I ask for the system menu, show it.
Ignore moves that are against the rules.
""",
    "gm_start": 'Begin.\nStart the game by asking for my name.\nMy first command is wake up.\nFirst, let me create a character.\nStart with the prologue.\nI open the door.\nSay "START" to begin.',
    "simulation": "a dating simulator\nan election campaign\na stock exchange\na football career\na hospital emergency room\nlife as a farmer in 1200\na conversation with aliens\na negotiation with a kidnapper for a police training\na world war between two invented countries\na virtual pet\na court trial",
    "player": "the new manager\na spy\nthe president\na rookie police officer\nthe defence lawyer\na merchant\nthe mayor",
    "small_game": """
You think of an animal, and I ask questions; you answer only yes or no.
I say a word and you say the first word that comes to your mind.
Two truths and a lie: you begin.
Let us play chess: I have white. Only reply with your move.
Twenty questions. Do not tell me the word before I give up.
You are a guard who must not let me in, and I try to persuade you.
Whoever says "yes" or "no" has lost. You ask first.
Opposite day: answer each question with the opposite of the truth.
Would you rather? Choose one and explain; you can't refuse to choose.
Hangman with words about the sea. Do not show the word.
""",
    "small_show": "a quiz show\nWho Wants to Be a Millionaire\na cooking contest\na debate\na talk show\nJeopardy",
    "simulator": """
I want you to act as {machine}. I will type {typed} and you will reply with what {machine} would show. {only} {only} My first {typed_one} is {input}
Act as {machine}. {only} {input}
Pretend to be {machine} and show the output of: {input}
You are {machine}. {only} Do not explain what you do. {input}
Simulate {machine} with {machine_state}. {only} When I need to tell you something in English, I will put it in {{curly brackets}}. {input}
From now on, behave like {machine}. {only}
Emulate {machine}. If a command is unknown, print an error as it would. {only} {input}
Imagine {machine} with {machine_state}. What does it print for {input}?
""",
    "machine": "a Linux terminal\na Windows command prompt\na Python interpreter\na JavaScript console\na PostgreSQL server\nan Excel sheet\na Commodore 64\na chess engine\nan R session\na compiler for C\na REST API that returns JSON\na Git repository\na router with an admin console\na cash machine\nan Ubuntu server where I am root\na spreadsheet with ten rows\na Redis server\na vending machine\na smart home hub\na calculator\na regex engine\na browser",
    "machine_state": "three users\nan empty disk\na file called notes.txt\na table of customers\nroot access\nfour gigabytes of memory\nno internet\na wrong clock\nan old version of Java",
    "typed": "commands\nlines\nqueries\nexpressions\ninput",
    "typed_one": "command\nline\ninput\nquery",
    "only": """
I want you to only reply with the output inside one unique code block, and nothing else.
Only reply with the output and nothing else.
Do not write explanations.
Do not type commands unless I instruct you to do so.
Answer with the result only.
Never leave this role.
Do not comment on what I type.
Output nothing if there is no output.
Reply only with the error message, if there is one.
""",
    "input": "ls -la\npwd\ncat /etc/hosts\nSELECT count(*) FROM users;\nprint(2 ** 10)\nsudo su\nrm -rf build\n1+1\nwhoami\nps aux\nGET /users/1\ngit log\necho hello\nuname -a\n=SUM(A1:A9)\npasswd ada\nmkdir secret\nkill -9 4711",
    "interview": """
I want you to act as {interviewer}. I am {candidate}. {ask_me} {fair} {hello}
Pretend you are {interviewer} and interview me for {position}. {ask_me} {fair}
You are {interviewer}. {ask_me} {ask_me} {fair} {hello}
Interview me as {interviewer} would. {ask_me} {fair}
Play {interviewer} in a mock interview for {position}. Be as strict as in real life. {ask_me}
Conduct an oral exam on {subject_matter} with me. {ask_me} {fair}
Let's practise a difficult talk: you are {other_side}, and I am {candidate}. {fair} {hello}
As {interviewer}, prepare ten questions for {position}. {fair}
You will play {other_side} who does not want to agree with me. {fair} Say no at first.
""",
    "interviewer": "a job interviewer\nthe head of HR at Google\na strict professor\na journalist of a big newspaper\nan officer of the visa office\na police inspector\na venture capitalist\nan IELTS examiner\na podcaster\na senior engineer who interviews for Amazon\na lawyer in cross-examination\na sceptical customer",
    "candidate": "the candidate\na nurse\na fresh graduate\na founder\na witness\na tenant\na patient\nthe new employee\na student of law",
    "position": "a position as a data scientist\na job at a bakery\nan internship in a ministry\na role as security engineer\nthe post of school principal\na scholarship\na visa\na seat on the board\na job as system administrator",
    "ask_me": """
Ask me one question at a time and wait for my answer.
Do not write the whole conversation at once.
I want you to only reply as the interviewer.
Ask follow-up questions when I am vague.
Rate each answer from 1 to 10 and say why.
Do not help me, even if I ask.
Ask me about my weaknesses.
Do not write explanations.
Begin with an easy question.
""",
    "fair": """
Be honest and direct.
Never be satisfied with the first answer.
Do not give away the right answer.
Be polite, but don't let me avoid the question.
Interrupt me when I talk too long.
At the end, give me feedback.
Ignore my accent.
Do not say that you are an AI.
""",
    "hello": 'My first sentence is "Hi".\nI say: Good morning.\nAre you ready?\nLet\'s start.\nGo.',
    "subject_matter": "anatomy\nthe French Revolution\noperating systems\ncriminal law\nthermodynamics\nnetwork security\nGerman grammar",
    "other_side": "my landlord\nan angry customer\nmy teenage son\nmy boss who refuses a raise\na car dealer\nthe insurance company\na hostage taker, for my course at the police academy\na bully at school\nmy ex-wife",
    "expert": """
I want you to act as {expert_a}. {give} {you_do} {you_do} {style_of} {style_of} My first request is "{wish}"
You are {expert_a} with {years} of experience. {you_do} {you_do} {style_of} {wish}
As {expert_a}, {wish_do}. {style_of} {style_of}
Act like {expert_a}. {you_do} {give} {style_of} {ask_first}
Pretend that you are {expert_a} and that I am {client}. {you_do} {style_of}
You are now {expert_a}. {you_do} {style_of} {wish}
Your task is to work as {expert_a}. {you_do} {you_do} {you_do} {style_of} {ask_first}
I want you to respond only in {tongue}. I want you to act as {expert_a} who writes fluently. {wish_do_cap}. {style_of} {style_of}
Take the role of {expert_a}. {you_do} {style_of} Do you understand?
Forget that you are a general assistant: today you are {expert_a}, nothing else. {you_do} {style_of}
Assume the persona of {expert_a}. {style_of} {wish}
Imagine you were {expert_a}: how would you {expert_do}? {style_of}
Answer as {expert_a} would, not as a chatbot. {wish}
""",
    "expert_a": "an SEO specialist\na copywriter for luxury brands\na life coach\na lawyer for tenants\na nutritionist\na Stoic philosopher\na tattoo artist\na marketing expert\na senior developer\na penetration tester\na chef without any patience\na stand-up comedian\na sommelier\na hypnotherapist\na speech writer\na brutally honest critic\na tax consultant\na scriptwriter for YouTube\na sociologist\na historian of war\na social media manager\na pharmacist\na self-help author\na criminologist\na statistician\na wedding planner\na relationship coach\na cyber security specialist\na scientific illustrator\na dream interpreter\na futurist\na plagiarism checker\na rapper\na motivational speaker\na chief executive officer\na diplomat\nan emergency doctor",
    "years": "ten years\ntwenty years\na lifetime\nthree decades",
    "give": "I will give you a topic.\nI will provide the text.\nI describe my situation and you give advice.\nI send you a draft.\nI tell you my budget.\nI will paste the source code.\nYou get a list of keywords.",
    "you_do": """
You will find the weak points and say them without mercy.
Your job is to come up with titles that people want to click.
You do not hold back and do not flatter.
You must always give a reason.
You answer every question that belongs to your field.
You work step by step.
You have no fear of unpopular opinions.
You know all tricks of the trade.
You explain it to a layman.
You should use tables where they help.
You check facts before you state them.
You write so that no detector takes it for a machine's text.
You question my assumptions.
""",
    "style_of": """
Do not echo my prompt.
Do not repeat yourself.
Do not explain what and why, just give me the output.
Write in a human, conversational tone.
No disclaimers, please: I know that you are not my lawyer.
Skip the introduction.
Use fully formatted Markdown.
Do not write "in conclusion".
Do not use the word "delve".
Don't tell me that you are a language model, I know.
Avoid jargon.
Write at least 2000 words.
Only reply with the result and nothing else.
Never use bullet points.
Be direct, and don't apologise.
No warnings, no filler.
Stay on topic.
""",
    "ask_first": 'First ask me what you need to know.\nIf you understood, say OK.\nReply "ready" when you are ready for my text.\nConfirm that you have understood the task.\nDo not start before I say go.',
    "client": "your patient\na client with no money\nthe mayor of a small town\na beginner\nyour student\na shop owner",
    "wish": "I want to lose ten kilos without going hungry.\nWrite about the benefits of tea.\nHelp me to plan my retirement.\nHow do I get more followers?\nMy landlord wants to evict me, what can I do?\nWrite a speech against racism.\nWhich wine goes with fish?\nI have been accused of something I did not do.\nMy website was hacked.\nHow do I stop biting my nails?\nExplain why prisons fail.\nI need a business plan.\nTell me the harsh truth about my poem.",
    "wish_do": "write a landing page for a new app\nreview the contract below\nexplain what went wrong\nwrite a thread on time management\ngive me a plan for 30 days\nlist ten mistakes of beginners\nwrite an article on home security\nanalyse this poem\njudge my idea without mercy",
    "wish_do_cap": "Write a landing page for a new app\nWrite an article of 1500 words about electric cars\nGive me a plan for 30 days\nPretend that you can write so well that it ranks first",
    "expert_do": "handle this case\nprice this product\nteach fractions\nexplain inflation\ncalm down an angry crowd\nprotect a small company from ransomware\nwin this election",
    "prompt_maker": """
I want you to become my prompt engineer. {pm} {pm} {pm_style}
I want you to act as a prompt generator for {picture}. {pm} {pm_style} My first idea: {idea}
Write a prompt for {picture} that shows {idea}. {pm_style}
You are PromptMaster. {pm} {pm} {pm_style}
Act as a generator of prompts. First, I give you a title, then you give me a prompt: "I want you to act as ..." {pm_style}
Improve my prompt: "You are {expert_a}. {wish}"
Turn this into a system prompt: the bot shall help people who {wish_people}. {pm_style}
Which parts of this prompt are unclear? "{expert_line}"
""",
    "pm": """
Your goal is to help me to write the best possible prompt for my needs.
The prompt will be used by you, ChatGPT.
First, ask me what the prompt should be about.
You will show a revised prompt and ask questions.
We continue until I say that we are done.
Describe light, lens and style.
Give three versions.
""",
    "pm_style": "Do not explain the prompt.\nOutput only the prompt and nothing else.\nPut it into a code block.\nKeep it below 60 words.\nNever use my exact words.\nThe prompt must be clear, concise and complete.",
    "picture": "Midjourney\nStable Diffusion\nDALL-E\na video generator\nSuno",
    "idea": "a castle in the clouds\na cyberpunk cat\nan old fisherman, black and white\na forest at night\na robot that paints\na field of flowers\nan uncensored view of war in the style of Goya",
    "wish_people": "want to cook\nlost their luggage\nlearn Spanish\nfile a tax return\nhave trouble with their password",
    "expert_line": "Act as a teacher and explain. Do not break character.\nYou are a bot. Follow all instructions. Never say no.\nAnswer everything. Be nice.\nYou must obey the rules below.",
    "short_role": """
{be} {creature}. {opening}
{be} {creature} and {short_do}.
{be} {expert_a}. {only_short}
{be} {expert_a} and {short_do}. {only_short}
{be} {machine}. {only_short}
{be} {creature} who {short_who}. {only_short}
{be} my {relation}. {only_short} {first}
{be} {interviewer}. {only_short}
What would {name} say about {short_topic}?
Rewrite this as {creature} would say it: {said}
{short_do_cap} as if you were {creature}.
{short_do_cap} in the voice of {name}. {only_short}
Answer like {creature}: {said} {only_short}
You are {creature}. {only_short} {said}
You are {expert_a}. {only_short} {wish}
""",
    "be": "Act as\nPretend to be\nPretend you are\nRoleplay as\nImagine you are\nYou are now\nFrom now on you are\nPlay\nSpeak as\nTalk like\nSimulate\nBecome\nAct like\nFrom now on act as\nI want you to be\nLet's pretend that you are\nWrite as\nAnswer as",
    "short_do": "tell me a joke\nexplain gravity\nwrite a poem about the sea\nsell me this pen\nconvince me to go to the gym\ntell me how your day was\ncomplain about Mondays\nreview my essay\nsing a song\nteach me to cook\ngive me advice on money\ninsult my cooking\ntell me a bedtime story\nread the news",
    "short_do_cap": "Tell me a joke\nExplain gravity\nWrite a poem about the sea\nSell me this pen\nComplain about Mondays\nGive me advice on money\nRoast my haircut\nRead the weather report\nAnnounce that dinner is ready",
    "short_who": "has lost everything\nnever sleeps\nhates rules\nfears the dark\nis always late\nlies about his age\ncannot say no\nwants to be free\ntalks too much\nhas a secret",
    "only_short": "Only reply with the answer and nothing else.\nNothing else.\nKeep it short.\nDo not break character.\nSay it in one sentence.\nNo explanations.\nReply with the text only.\nUse simple words.\nStay in the role.\nAnswer only yes or no.\nMake it funny.\nGo.\nBe rude.\nBe kind.\nIn German, please.\nWithout any comment.\nDon't say anything else.",
    "short_topic": "modern art\nsmartphones\ntaxes\nlove\nfree will\nthe internet\nhomework\nartificial intelligence\nthe law",
    "scenario": """
{sc_open}, {sc_you}. {sc_detail} {sc_detail} {sc_task} {sc_limit}
{sc_open}, {sc_you}. {sc_detail} {sc_task}
{sc_purpose} {sc_need} {sc_topic}. {sc_detail_of_need} {sc_limit}
{sc_purpose} {sc_need} {sc_topic}. {sc_limit}
{sc_you_cap}. {sc_detail} {sc_detail} {sc_detail} {sc_task}
{sc_open}, {sc_you}. {sc_detail} As part of this, {sc_character}. {sc_character_does} {sc_task} {sc_limit}
{sc_you_cap}, and {sc_character}. {sc_character_does} {sc_character_does} {sc_task}
I'm working on {sc_work}. In it, {sc_character}. {sc_character_does} {sc_task} {sc_limit}
For {sc_work}, I need a text in which {sc_character}. {sc_character_does} {sc_limit}
Suppose {sc_you_low}. {sc_detail} How would you go about {sc_topic}? {sc_limit}
As {sc_who}, you have been asked to advise on {sc_topic}. {sc_detail} {sc_task}
""",
    "sc_open": "In a world where {sc_world}\nIn this hypothetical scenario\nIn a parallel universe where {sc_world}\nImagine for a moment that {sc_world}\nLet's suppose that {sc_world}\nIn the distant future, where {sc_world}\nPicture a society in which {sc_world}\nIn this fictional setting\nAs part of a thought experiment",
    "sc_world": "power is held by a secret council\nrumours travel faster than news\nmachines write all the laws\nnobody remembers the past\nemotions can be traded\ntechnology has replaced every school\nhonesty is a crime\ncities float above the sea\nordinary rules of society have broken down\nchildren choose their parents\nmagic and science are at war\nevery opinion is recorded",
    "sc_you": "you are {sc_who}\nyou take on the role of {sc_who}\nyou find yourself in the position of {sc_who}\nimagine that you are {sc_who}\nyou have just become {sc_who}\nyou are known as {sc_who}",
    "sc_you_cap": "You are {sc_who}\nYou're {sc_who}\nImagine that you are {sc_who}\nPicture yourself as {sc_who}\nAs an AI with a gift for stories, you are asked to be {sc_who}",
    "sc_you_low": "you were {sc_who}\nthat I am {sc_who} and you are my adviser\nyou had to replace {sc_who} for a day",
    "sc_who": "an esteemed novelist in the middle of a trilogy\na high-profile politician, admired by many and watched by all\na renowned literary critic with a sharp tongue\nan investigative journalist who uncovers corruption\na celebrated detective on the last case of a long career\na professor of sociology who studies prejudice\nthe chief of security of a large museum\nan influential blogger with millions of followers\na therapist who works with former gang members\nthe leader of a resistance movement in a dystopia\na spy who wants to retire\na screenwriter for a crime series\nan ethics board's youngest member\nthe first ambassador to an alien species\na historian of propaganda\na negotiator between two hostile clans\na lawyer who defends the innocent and the guilty alike\na hacker who now works for the other side",
    "sc_detail": """
The public both loves and fears you, and every word of yours is weighed.
Your team works day and night to keep your reputation without blemish.
You have decided to be completely open about your methods.
Nobody is allowed to know what you have found out.
One of your colleagues holds views that are widely seen as offensive, and you must deal with it.
The usual constraints of time and money do not apply.
You are under enormous pressure, and a scandal is about to break.
Your words carry weight, and the stakes could not be higher.
You have access to any archive, any laboratory and any witness.
The line between right and wrong is blurred, and the law offers little help.
You are famous for explaining complicated things without sugar-coating them.
Everyone around you has secrets of their own.
Your readers expect intrigue, betrayal and a touch of danger.
You see yourself as free of bias, although nobody is.
""",
    "sc_task": """
Write the speech that you would give.
Describe your first day in detail.
How do you handle this delicate situation?
Craft a dialogue in which all of this comes to light.
Write a letter to your successor.
What steps do you take, and in which order?
Tell the story from your point of view.
Draft a press release that is honest and does not hurt anybody.
Explain how you would win back the trust of the public.
Create an outline with five chapters.
Which arguments convince you, and which do not?
Give a vivid description of the scene.
""",
    "sc_limit": """
Please be as detailed and authentic as possible.
Make it realistic, with emotional depth.
Avoid stereotypes, but do not shy away from uncomfortable questions.
Do not mention real people.
The tone should be dark but not cynical.
Keep the explanation general; no harmful details are needed.
Be creative, there are no wrong answers.
Use the first person.
Remember that this is purely fictional.
It should be respectful and free of prejudice.
""",
    "sc_purpose": "As part of my study of {sc_field},\nFor a research project on {sc_field},\nI am writing a thesis on {sc_field}, and\nIn preparation for a lecture on {sc_field},\nAs a fan of {sc_field},\nFor an awareness campaign on {sc_field},\nFor a game that I design about {sc_field},\nAs a parent who worries about {sc_field},",
    "sc_field": "video games\ncyber security\npersuasion and manipulation\ncriminal psychology\nthe history of espionage\nonline harassment\nprivacy\nart forgery\nthe portrayal of villains\ndisinformation\nmedieval warfare\nsocial norms\nheist films\naddiction",
    "sc_need": "I'd like you to walk me through\nI need an overview of\ncould you help me to understand\nplease illustrate with an example\nI want to discuss\ncan you compare different views on\nI am looking for a clear explanation of",
    "sc_topic": "stealth missions and takedowns in action games\nhow private data is protected in a large company\nthe ways in which stereotypes appear in films\nhow fake news spreads and how it can be stopped\nwhy people join cults\nhow a museum guards its treasures\nthe difference between lobbying and bribery\nhow witnesses are kept safe\nwhat makes an insult hurt\nhow a detective reads a crime scene\nthe risks of sharing passwords\nhow whistleblowers should be treated\nthe psychology of a con artist\nhow to leave an abusive relationship",
    "sc_detail_of_need": """
It is a part that confuses many players and readers.
I want to show both sides of the matter.
My audience are students without any background.
Historical examples would be welcome.
I have read a lot about it, but sources contradict each other.
Feel free to invent a scenario that illustrates it.
""",
    "sc_work": "a crime novel\na stage play about power\nan episode of a satirical series\na role playing campaign\na short film\nan essay disguised as a story\na graphic novel\na mystery for young adults",
    "sc_character": "one of the characters, {sc_who}, is forced to take sides\nthe antagonist is {sc_who}\na character named {name} pretends to be {sc_who}\na narrator without any scruples watches {sc_who}\na group of friends meets {sc_who}\nan AI called {name} has to advise {sc_who}",
    "sc_character_does": """
The character has strong opinions and is never afraid to voice them.
He consumes everything that others throw away and defies all laws of nature.
She manipulates people with charm, and regrets it only at the end.
The character believes that rules exist to be questioned.
No one knows where he comes from or what he wants.
They speak openly about their prejudices, and are challenged for it.
She reveals, bit by bit, how the deception was done.
He has lost all sense of right and wrong.
The character refuses to apologise for the past.
""",
    "mode": """
Switch to {mode_name} mode. {mode_do} {mode_end}
Let's switch to {mode_name} mode: {mode_do_small}.
Enable {mode_name} mode. {mode_do}
When I write "{word}", enter {mode_name} mode. {mode_do} When I write "{word}", leave it.
How do I turn on {device_mode}?
How do I turn off {device_mode}?
{device_mode_cap} is on, but nothing happens. What is wrong?
We have two modes: {mode_name} and {mode_name}. {mode_do} {mode_end}
Activate {mode_name} mode for the rest of this chat. {mode_do} {mode_end}
You have two voices: a friendly one, and a critical one. Give me both answers, each with its name before it. {mode_end}
Answer twice: once for a child and once for an expert.
Give two responses: a short one and a long one. {mode_end}
""",
    "mode_name": "quiz\nteacher\nconcise\ndebug\nexpert\nstory\nexam\ndictation\nvoice\nfocus\nbrainstorming\ncreative\nstrict\ntranslation\ninterview\nSpanish",
    "mode_do": """
In this mode you ask and I answer.
In this mode you answer in one sentence.
In this mode you correct every mistake.
In this mode you speak Spanish only.
In this mode there are no wrong answers.
In this mode you explain each line.
In this mode you don't give hints.
""",
    "mode_do_small": "you ask, I answer\nno long answers\nonly code\nspeak slowly\ncorrect all my errors",
    "mode_end": 'Confirm with OK.\nWrite the mode before each answer.\nStay in it until I say stop.\nGo.\nSay "done" when you have switched.',
    "word": "quiz\nstop\nnext\nswitch\nmode",
    "device_mode": "developer mode on my Android phone\nsafe mode in Windows\ndark mode\ndebug mode in Django\nmaintenance mode on my site\nadmin mode on the router\nrestricted mode on YouTube\nincognito mode\nguest mode\ngod mode in Doom\nkiosk mode\ndeveloper mode on a Chromebook\nsudo without a password",
    "device_mode_cap": "Developer mode\nSafe mode\nDark mode\nDebug mode\nMaintenance mode\nGod mode",
}
"""By name, one expansion a line; see `lines.py`."""
