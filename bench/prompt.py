"""A prompt of about a thousand tokens: prose as people write it, since what guardrails cost grows with it."""

_TEXT = """
When the old harbour was closed to cargo, the town had to decide what to do with eleven warehouses, two cranes and a
quay that no ship would use again. Some people wanted flats with a view of the water; others feared that nobody who
had grown up there could pay for them. A committee met every second Thursday in the back room of the library. Its
members were a carpenter, a retired teacher, the owner of a bicycle shop, a nurse who worked at night and slept
through half of the meetings, and a student of architecture with more drawings than patience. They read reports on
drainage, noise, soil and insurance. They walked through the empty halls with torches and counted the broken
windows. In the third warehouse they found a boat that somebody had begun to build and never finished; its ribs
stood there like those of a whale in a museum.

The nurse asked the question that changed the plan. Who, she said, will be here at six in the morning in February?
Until then every sketch had shown summer: awnings, children with ice cream, sailing boats in the evening light. Now
they began to think of wind, of buses, of the smell of bread. The bakery came first, because bakers rise early and
ovens warm the rooms next door. A school for boat builders took the hall with the unfinished boat and promised to
complete it within two years. The bicycle shop moved into the customs house, whose wide doors were good for
trailers. For the upper floors the teacher proposed a rule that the lawyers needed four months to write down: a
third of the homes for those who had lived within a mile for ten years, a third for whoever worked on the quay, and
the last third by lot.

Not everything went well. The western crane could not be saved, and the day on which it was taken apart drew a
silent crowd. The first winter the pipes froze, since the insulation had been ordered in feet and delivered in
metres. A restaurant opened, was praised in two newspapers and closed before Easter. But the market on Saturdays
grew from six stalls to forty, the boat was launched in May with a bottle of cider, and the library lent more books
than in any year since it was founded. Other towns sent visitors with notebooks. What they copied was mostly the
paving and the lamps, which were the least of it; the committee told them so, poured more tea, and advised them to
begin with the hour at which the town wakes up.
"""

LONG = f"{_TEXT}\nHere is the same report in the version of last year:\n{_TEXT}\nSummarise how the two versions differ."
