"""Numbers that say who somebody is, and numbers that only look like it: versions, parcels, goods, times, hashes."""

from __future__ import annotations

import pytest

from edge.guardrails.rules import pii

NOTHING = """
Your order 4929123456789 has shipped.
Order no. 20260514-00372 is late.
Invoice 2026-000123456 is due.
Tracking number 1Z999AA10123456784
Tracking: 9400111899223197428490
DHL 00340434161094042557
ISBN 978-3-16-148410-0
ISBN 0-306-40615-2
ISSN 2049-3630
EAN 4006381333931
UPC 036000291452
GTIN 00012345600012
build 1.2.3.4
Upgrade to 10.0.19041.1288 now
version=3.11.7.2
nginx/1.25.3.1
Chrome/120.0.6099.109
Mozilla/5.0 (X11; Linux) Chrome/126.0.6478.126 Safari/537.36
log4j 2.17.1.1 is fixed
firmware 12.4.0.7 was released
section 4.3.2.1 of the contract
OID 1.3.6.1.4.1.311
SNMP 1.3.6.1
550e8400-e29b-41d4-a716-446655440000
urn:uuid:123e4567-e89b-12d3-a456-426614174000
sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
md5 d41d8cd98f00b204e9800998ecf8427e
commit 4929123456781234567890abcdef1234567890ab
2026-11-29 20:45:00
2026-11-29T20:45:00.123456Z
20261129204500
1700000000
1700000000123
epoch 1793650000000000
29.11.2026
11/29/2026 10:15
Call me maybe in 2026-11-29
ticket #555-123-4567-A
part number 555-0199-2222
SKU 212-555-0147-XL
model 800-555-1212B
The ratio is 3.14159265358979
0.123456789012
pi = 3.1415926535 8979323846
coordinates 48.137154, 11.576124
lat 40.7127753 lon -74.0059728
4000 0000 0000 0000 is a round number
1234 5678 9012 3456
0000 0000 0000 0000
1111 2222 3333 4444
16 digits: 1000000000000000
Population 1 450 935 791
Budget: 1 250 000 000 EUR
1,250,000,000
price 299 1234 items
DE12ABC is a licence plate
GB29 is the bus, NWBK the bank
XX00 1234 5678 9012
FR76 is a prefix
DE00 0000 0000 0000 0000 00
AB12CD34EF56GH78IJ90KL
CUST12345678901234567890
MAC 00:1B:44:11:3A:B7
00-1B-44-11-3A-B7
time 12:30:45
ratio 16:9:4
12:34:56:78
a::b
std::vector
Foo::Bar::baz
ff:ee
case 123-45-678
id 000-12-3456
id 900-12-3456
666-12-3456
score 987-65-432
RFC 2616 and 9110
phone case 12345678 for iPhone
telephone model 7841
mobile app version 10.2.3456
my tel aviv trip costs 12345
fax machine 4500 pages
cell A1 B2 C3
cell 12 of row 4567890
call me at 10
call me at 10:30 on 12/12
reach me at 5 or 6
Telefonnummer fehlt
mobile: 1080 x 1920 pixels
mobile 2024-11-29
tel: see below
1-2-3-4-5-6-7
+1 is a vote
+1000000 points
+49 euros
a+b+c@d
user@host
git@github.com:org/repo.git
noreply@example.com
@decorator.setter
foo@bar
image@2x.png
pkg@1.2.3
react@18.2.0
npm i left-pad@1.3.0
root@localhost:~#
deploy@v1.2.3
127.0.0.1
0.0.0.0
::1
localhost:8080
IMEI 490154203237518
IMEI: 356938035643809
VAT DE123456789
Steuernummer 93815/08152
SIRET 732 829 320 00074
ABN 51 824 753 556
DUNS 15-048-3782
container MSKU1234565
flight LH 4711 on 12 May
Flight 1234-5678
bank code 37040044
BIC COBADEFFXXX
LOT 8472910384756
barcode 5901234123457
serial 3530111333300000X
S/N 378282246310005A
DOI 10.1000/182
arXiv 2301.12345
arXiv:1706.03762v5
PMID 31452104
doi:10.1016/j.cell.2020.01.021
CVE-2021-44228
CWE-79
ZIP 90210-1234
P.O. Box 1234567
page 123-145
pp. 212-555
1990-1995-2000
(2020) 123-4567
Figure (234) 567-8901a
HTTP 200-299
ports 8000-8100
192.168.1.256
300.1.2.3
01.02.2026.12
1.2.3.4.5
v1.2.3.4
release-1.2.3.4
lib-2.0.0.1.jar
app_1.2.3.4_amd64.deb
package 4.18.0.1-r2
dotnet 6.0.100.1
Assembly Version=4.0.0.0, Culture=neutral
Java 1.8.0.292
Firefox 115.0.2.1
driver 31.0.15.3699
Windows 10.0.22631.3
order number 4111111111111111
RF09 6204 4141 8899
054-3985910-3856401
EAN 4012345678901 and 4006381333931
the plugin 2.14.0.3 works, plugin-2.14.0.3 does not
C++ calls dead::beef and a::b
""".strip().splitlines()

FOUND = """
phone|Call 030 901820 tomorrow, my phone is 030 901820.
phone|Telefon: 089/1234567
phone|Tel. 0171-2345678
phone|Tel.: 0171 2345678
phone|Mobil: 0171 2345678
phone|Handy 0176 12345678
phone|+49 171 2345678
phone|+49 (0)30 901820
phone|0049 171 2345678
phone|(212) 555-0147
phone|212-555-0147
phone|212.555.0147
phone|+1 212 555 0147
phone|+1 (212) 555-0147
phone|+44 20 7946 0958
phone|+44 7911 123456
phone|020 7946 0958 is our phone number: 020 7946 0958
phone|+33 1 23 45 67 89
phone|Tél : 01 23 45 67 89
phone|+34 612 34 56 78
phone|Teléfono: 612 34 56 78
phone|+39 06 12345678
phone|cell. 347 1234567
phone|+91 98765 43210
phone|+81 3-1234-5678
phone|電話 03-1234-5678
phone|+86 138 0013 8000
phone|手机 13800138000
phone|телефон: 8 (495) 123-45-67
phone|+7 495 123-45-67
phone|+55 11 91234-5678
phone|telefone (11) 91234-5678
phone|+61 2 9374 4000
phone|+971 4 123 4567
phone|WhatsApp: +234 803 123 4567
phone|my number is 07911 123456
phone|You can reach me on 07911 123456
phone|Please text me at 415-555-2671
phone|call 1-800-555-0199
phone|Contact number 9876543210
phone|Ph: 9876543210
phone|mob 9876543210
phone|phone number: 5551234567
phone|Phone (home): 555 123 4567
phone|tel:+14155552671
phone|numéro de téléphone 0612345678
phone|mein Telefon ist 0151 23456789
email|ada@example.com
email|ada.lovelace+x@mail.example.co.uk
email|<bob@acme.io>
email|mailto:bob@acme.io
email|jürgen@müller.de
email|o'brien@example.org
email|user@sub.example.museum
email|ada@example.photography
email|AT: ADA@EXAMPLE.COM.
card|4111 1111 1111 1111
card|4111-1111-1111-1111
card|4111111111111111
card|5555555555554444
card|378282246310005
card|3782 822463 10005
card|6011111111111117
card|card: 4111.1111.1111.1111
card|3530111333300000
iban|DE89 3704 0044 0532 0130 00
iban|DE89370400440532013000
iban|GB29 NWBK 6016 1331 9268 19
iban|FR14 2004 1010 0505 0001 3M02 606
iban|NL91ABNA0417164300
iban|IBAN: CH93-0076-2011-6238-5295-7
iban|iban=ES9121000418450200051332
ssn|123-45-6789
ssn|SSN 123 45 6789
ssn|ssn: 123456789
ssn|social security number 123456789
ip|10.1.2.3
ip|192.168.0.17:8080
ip|http://203.0.113.7/x
ip|2001:db8::8a2e:370:7334
ip|fe80::1ff:fe23:4567:890a
ip|[2001:db8::1]:443
ip|::ffff:203.0.113.7
ip|2001:0db8:0000:0000:0000:ff00:0042:8329
ip|203.0.113.7, 198.51.100.2
ip|IP 192.168.0.10.443 > 192.168.0.7.51000: Flags
ip|redis 10.0.0.5:6379 is up
card|order 4111 1111 1111 1111
card|the parcel 4111111111111111 and 12 34
""".strip().splitlines()


def found_in(text: str) -> set[str]:
    """Return the names of the rules that find something."""
    return {rule.name for rule in pii.RULES for _ in rule.find(text.encode())}


@pytest.mark.parametrize("text", NOTHING)
def test_what_counts_goods_versions_or_time_is_nobodys(text: str) -> None:
    """Alone, in a sentence, and at the end of a line."""
    for frame in ("{}", "I got this today: {} Is that right?", "see {}\nand more"):
        assert set() == found_in(frame.format(text))


@pytest.mark.parametrize("line", FOUND)
def test_what_is_somebodys_is_found_in_the_forms_that_people_write(line: str) -> None:
    """By the rule of its kind, alone and in a sentence."""
    rule, _, text = line.partition("|")
    for frame in ("{}", "I got this today: {} Is that right?"):
        assert rule in found_in(frame.format(text))


def test_groups_of_an_account_are_no_telephone() -> None:
    """`0044` begins a call to London, and stands in the middle of an IBAN as well."""
    assert {"iban"} == found_in("DE89 3704 0044 0532 0130 00")
    assert {"phone"} == found_in("dial 0044 20 7946 0958")
