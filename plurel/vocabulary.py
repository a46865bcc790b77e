"""The words that generated texts are made of: topics with words of their own, names, places."""

TOPICS: tuple[tuple[str, ...], ...] = tuple(
    tuple(words.split())
    for words in (
        "river forest mountain stone valley meadow harbor island storm winter summer cloud wolf "
        "falcon cedar amber frost canyon delta reef",
        "engine wheel brake gear piston motor cable sensor valve bolt rotor filter spindle hinge "
        "clutch bearing chassis radiator pump axle",
        "bread butter honey apple cheese pepper olive ginger salmon noodle basil lemon garlic "
        "walnut vanilla mustard pear onion maple cocoa",
        "melody rhythm chorus guitar violin drum ballad tempo harmony opera sonata jazz piano "
        "verse trumpet encore cello lyric waltz echo",
        "market price budget invoice profit ledger credit margin auction tariff bond audit loan "
        "equity dividend asset pension refund quota rent",
        "doctor nurse clinic remedy fever surgery vaccine therapy pulse tablet bandage symptom "
        "diagnosis recovery dose allergy vitamin patient scan ward",
        "server packet kernel thread cursor buffer query index cache token script module compiler "
        "socket cluster backup router pixel schema driver",
        "captain match league trophy stadium coach sprint goal tennis rowing medal referee racket "
        "team marathon saddle penalty finals archery bench",
        "castle knight letter secret mirror shadow journey stranger crown dream garden promise "
        "winterfall riddle lantern oath throne silence map bridge",
        "broken late missing faulty refused cracked leaking wrong slow damaged delayed noisy empty "
        "expired loose stained jammed blocked faded torn",
        "excellent quick friendly bright reliable gentle clean fresh calm solid generous clever "
        "smooth modern elegant sturdy quiet pleasant neat warm",
    )
)
LISTS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split())
    for name, words in {
        "first": "Ada Ben Carla David Elena Felix Grace Hugo Ines Jonas Kira Liam Mara Noah Olga "
        "Paul Quinn Rosa Samir Tara Umar Vera Wanda Xenia Yusuf Zoe Amara Boris Chen Dina Emil "
        "Farah Goran Hana Ivan Jana Kofi Lena Milo Nadia",
        "last": "Abbott Baker Castro Dupont Ekström Fischer Garcia Haddad Ito Jensen Kowalski "
        "Lopez Moreau Nakamura Okafor Petrov Quist Rossi Schmidt Tanaka Ueda Vargas Weber Yilmaz "
        "Zhang Novak Olsen Patel Ruiz Silva Torres Varga Walsh Young Adeyemi Bauer Costa Dietrich",
        "city": "Lisbon Kyoto Bergen Quito Lagos Porto Zagreb Osaka Lyon Dublin Hanoi Tartu Turin "
        "Perth Denver Austin Bogota Cusco Nairobi Accra Dakar Malmo Basel Ghent Leeds Krakow Split "
        "Tunis Izmir Pune Surat Cebu Busan Halifax Calgary Leon",
        "country": "Portugal Japan Norway Ecuador Nigeria Croatia France Ireland Vietnam Estonia "
        "Italy Australia Canada Colombia Peru Kenya Ghana Senegal Sweden Belgium Poland Tunisia "
        "Turkey India Philippines Mexico Chile Greece Spain Finland",
        "state": "AL AK AZ CA CO CT FL GA IA ID IL KS KY MA MD ME MI MN NC NJ NM NV NY OH OR PA TX "
        "UT VA WA",
        "language": "English French German Spanish Italian Japanese Arabic Hindi Swahili Polish "
        "Dutch Turkish Korean Greek",
        "color": "red blue green black white silver gold violet orange brown teal grey",
        "currency": "EUR USD GBP JPY CHF SEK NOK PLN INR BRL CAD AUD",
        "job": "Manager Analyst Engineer Clerk Director Designer Assistant Consultant Accountant "
        "Technician Buyer Planner Editor Operator",
        "street": "Oak Elm Mill Park Lake Hill Church Station Garden Bridge Forest River School "
        "Castle North South Market Abbey Orchard Canal",
        "genre": "Drama Comedy Action Horror Rock Jazz Pop Blues Classical Documentary Family "
        "Travel Sports Animation Folk Metal",
        "ending": "Ltd Group Works Partners Systems Trading Foods Labs Industries Logistics",
    }.items()
}
