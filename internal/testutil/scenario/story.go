package scenario

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// markHeader tells the oracle what a record is; the worker ignores it.
const markHeader = "x-scenario"

// The marks of records, each with the one place where such a record ends.
const (
	markEvent   = "event"   // accepted, a repeat, or a reused id
	markIgnored = "ignored" // of another provider, or without a value
	markBad     = "bad"     // dead letter
)

// A Subject is one code of one shop, or one address: what has exactly one end.
type Subject struct {
	Kind journal.Kind
	Shop journal.ShopKey
	Text string // the code or the address
}

// A Record is one record of the platform.
type Record struct {
	At      float64 // when it is sent: the share of the scenario's time, from 0 to 1
	Type    string
	Message kafkago.Message
}

// A Story is what the platform says, and what it is about.
type Story struct {
	Shops    []journal.ShopKey
	Subjects []*Subject
	Records  []Record          // in the order in which they are sent
	Twins    map[string]string // code → an earlier code, to whose merchant it must lead

	byEvent map[string]*Subject // by event id
}

// Options say what a story is drawn from.
type Options struct {
	Shops    int
	Accounts []string // of the shops, in turn
	// Words of the sandbox's faults, each with its dash, that some codes and addresses
	// begin with.
	CodeWords, AddressWords []string
}

// Tell draws the stories of so many shops.
func Tell(rnd *rand.Rand, o Options) *Story {
	s := &Story{Twins: map[string]string{}, byEvent: map[string]*Subject{}}
	before := map[string]string{} // a code of an earlier shop of the account
	for i := range o.Shops {
		g := &generator{Story: s, Options: o, rnd: rnd, shop: journal.ShopKey{Account: o.Accounts[i%len(o.Accounts)], Shop: fmt.Sprintf("s%05d", i)}, at: rnd.Float64()}
		g.tell(before[g.shop.Account])
		if g.first != nil {
			before[g.shop.Account] = g.first.Text
		}
		s.Shops = append(s.Shops, g.shop)
	}
	slices.SortStableFunc(s.Records, func(a, b Record) int { return cmp.Compare(a.At, b.At) })
	return s
}

// A generator tells the story of one shop.
type generator struct {
	*Story
	Options
	rnd              *rand.Rand
	shop             journal.ShopKey
	at               float64
	codes, addresses int
	first            *Subject // its first code
}

// chance is true in so many of a hundred cases.
func (g *generator) chance(percent int) bool { return g.rnd.IntN(100) < percent }

// tell draws what happens to the shop.
func (g *generator) tell(codeOfAnother string) {
	switch n := g.rnd.IntN(100); {
	case n < 5: // turns to another provider for good
		g.other()
		return
	case n < 9:
		g.other()
		g.selects(g.newAddress(""))
	case n < 13:
		g.selects(g.newAddress("rejected-"))
	case n < 18: // a newer address
		g.selects(g.newAddress(""))
		g.selects(g.newAddress(""))
	case n < 21: // turns away again
		g.selects(g.newAddress(""))
		g.other()
	case n < 24: // its code comes without any invitation
	default:
		g.selects(g.newAddress(g.word(g.AddressWords)))
	}
	switch n := g.rnd.IntN(100); {
	case n < 4: // never enters a code
	case n < 12: // mistypes it
		g.enters(g.newCode("rejected-"))
		g.enters(g.newCode(""))
	case n < 15: // a code that is no good, again and again
		wrong := g.newCode("rejected-")
		g.enters(wrong)
		g.enters(wrong)
	case n < 23: // a newer code, with the same merchant or another
		first := g.newCode("")
		g.enters(first)
		newer := g.newCode("")
		if g.chance(70) {
			g.Twins[newer.Text] = first.Text
		}
		g.enters(newer)
	case n < 25 && codeOfAnother != "":
		g.enters(g.subject(journal.Activate, codeOfAnother))
	case n < 26:
		g.enters(g.newCode("same-merchant-"))
	case n < 29:
		g.enters(g.newCode("pending-token-"))
	default:
		g.enters(g.newCode(g.word(g.CodeWords)))
	}
	if g.chance(3) {
		g.bad()
	}
}

// word is one of the words, or none.
func (g *generator) word(words []string) string {
	if len(words) == 0 || !g.chance(30) {
		return ""
	}
	return words[g.rnd.IntN(len(words))]
}

func (g *generator) newAddress(word string) *Subject {
	g.addresses++
	return g.subject(journal.Invite, fmt.Sprintf("%sbox%d-%s@shops.example", word, g.addresses, g.shop.Shop))
}

func (g *generator) newCode(word string) *Subject {
	g.codes++
	s := g.subject(journal.Activate, fmt.Sprintf("%skey%d-%s", word, g.codes, g.shop.Shop))
	if g.first == nil && word == "" {
		g.first = s
	}
	return s
}

func (g *generator) subject(kind journal.Kind, text string) *Subject {
	s := &Subject{Kind: kind, Shop: g.shop, Text: text}
	g.Subjects = append(g.Subjects, s)
	return s
}

// selects is a choice of Invoicebox, with whatever the platform repeats of it.
func (g *generator) selects(s *Subject) {
	g.about(s, schemas.TypeProviderSelected, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":%q,"partnerAccount":%q}`, g.shop.Shop, s.Text, g.shop.Account))
}

func (g *generator) enters(s *Subject) {
	g.about(s, schemas.TypeCodeEntered, fmt.Sprintf(`{"shopId":%q,"activationCode":%q,"partnerAccount":%q}`, g.shop.Shop, s.Text, g.shop.Account))
}

// about says an event, sometimes twice, sometimes again with another id, and
// rarely another one under its id.
func (g *generator) about(s *Subject, typ, data string) {
	id := g.id()
	g.byEvent[id] = s
	g.say(typ, id, data, markEvent)
	if g.chance(12) {
		g.say(typ, id, data, markEvent)
	}
	if g.chance(1) {
		g.say(typ, id, strings.Replace(data, `"shopId"`, `"note":"another content","shopId"`, 1), markEvent)
	}
	if g.chance(4) {
		again := g.id()
		g.byEvent[again] = s
		g.say(typ, again, data, markEvent)
	}
}

func (g *generator) other() {
	g.say(schemas.TypeProviderSelected, g.id(), fmt.Sprintf(`{"shopId":%q,"provider":"another","partnerAccount":%q}`, g.shop.Shop, g.shop.Account), markIgnored)
}

// bad is a record that nobody can use, or one without a value.
func (g *generator) bad() {
	list := []struct{ typ, data, mark string }{
		{schemas.TypeProviderSelected, `{"shopId":`, markBad},
		{schemas.TypeProviderSelected, `{"provider":"invoicebox","email":"a@shops.example"}`, markBad},
		{schemas.TypeProviderSelected, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"no address"}`, g.shop.Shop), markBad},
		{schemas.TypeCodeEntered, fmt.Sprintf(`{"shopId":%q,"activationCode":"x","partnerAccount":"nobody"}`, g.shop.Shop), markBad},
		{schemas.TypeCodeEntered, fmt.Sprintf(`{"shopId":%q,"activationCode":["x"],"partnerAccount":%q}`, g.shop.Shop, g.shop.Account), markBad},
		{schemas.TypeCodeEntered, ``, markIgnored},
	}
	b := list[g.rnd.IntN(len(list))]
	g.say(b.typ, g.id(), b.data, b.mark)
}

func (g *generator) id() string { return fmt.Sprintf("e%06d", len(g.Records)+1) }

// say adds a record a while after the one before.
func (g *generator) say(typ, id, data, mark string) {
	m := Event(typ, id, g.shop.Shop, data)
	m.Headers = append(m.Headers, kafkago.Header{Key: markHeader, Value: []byte(mark)})
	if data == "" {
		m.Value = nil
	}
	g.Records = append(g.Records, Record{g.at, typ, m})
	g.at = min(1, g.at+g.rnd.Float64()/4)
}
