package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"

	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/schemas"
)

// markHeader tells the ledger what a record is; the worker ignores it.
const markHeader = "x-chaos"

// The marks of records, each with the one place where such a record ends.
const (
	markEvent     = "event"      // accepted, a repeat, or a reused id
	markOther     = "other"      // ignored: another provider
	markTombstone = "tombstone"  // ignored
	markBad       = "bad-record" // dead letter
)

// A matter is one code of one shop, or one address: what gets exactly one line
// in the ledger.
type matter struct {
	kind    journal.Kind
	shop    journal.ShopKey
	subject string
	ids     map[string]bool // of the events that name it
}

// A world is what the platform of a chaos run says, in the order in which it
// says it, and what it is about.
type world struct {
	rnd      *rand.Rand
	accounts []string
	shops    map[journal.ShopKey][]said
	order    []journal.ShopKey
	matters  []*matter
	byID     map[string]*matter // event id → matter
	twins    map[string]string  // code → code whose merchant it shall lead to
	events   int
}

// said is one record of the platform.
type said struct {
	typ     string
	message kafkago.Message
}

// newWorld draws the stories of so many shops.
func newWorld(rnd *rand.Rand, shops int, accounts []string) *world {
	w := &world{rnd: rnd, accounts: accounts, shops: map[journal.ShopKey][]said{}, byID: map[string]*matter{}, twins: map[string]string{}}
	before := map[string]string{} // a code of an earlier shop of the account
	for i := range shops {
		s := &teller{world: w, key: journal.ShopKey{Account: accounts[i%len(accounts)], Shop: fmt.Sprintf("s%05d", i)}}
		s.tell(before[s.key.Account])
		if s.first != nil {
			before[s.key.Account] = s.first.subject
		}
		w.order = append(w.order, s.key)
	}
	return w
}

// chance is true in so many of a hundred cases.
func (w *world) chance(percent int) bool { return w.rnd.IntN(100) < percent }

// A teller tells the story of one shop.
type teller struct {
	*world
	key   journal.ShopKey
	codes int
	first *matter // its first code
	mail  int
}

// tell draws what happens to the shop.
func (s *teller) tell(codeOfAnother string) {
	switch n := s.rnd.IntN(100); {
	case n < 5: // turns to another provider for good
		s.other()
		return
	case n < 9:
		s.other()
		s.selects(s.newAddress(""))
	case n < 13:
		s.selects(s.newAddress("rejected-"))
	case n < 18: // a newer address
		s.selects(s.newAddress(""))
		s.selects(s.newAddress(""))
	case n < 21: // turns away again
		s.selects(s.newAddress(""))
		s.other()
	case n < 24: // its code comes without any invitation
	default:
		s.selects(s.newAddress(""))
	}
	switch n := s.rnd.IntN(100); {
	case n < 4: // never enters a code
	case n < 12: // mistypes it
		s.enters(s.newCode("rejected-"))
		s.enters(s.newCode(""))
	case n < 15: // a code that is no good, again and again
		wrong := s.newCode("rejected-")
		s.enters(wrong)
		s.enters(wrong)
	case n < 23: // a newer code, with the same merchant or another
		first := s.newCode("")
		s.enters(first)
		newer := s.newCode("")
		if s.chance(70) {
			s.twins[newer.subject] = first.subject
		}
		s.enters(newer)
	case n < 25 && codeOfAnother != "":
		s.enters(s.matter(journal.Activate, codeOfAnother))
	case n < 26:
		s.enters(s.newCode("same-merchant-"))
	case n < 29:
		s.enters(s.newCode("pending-token-"))
	default:
		s.enters(s.newCode(""))
	}
	if s.chance(3) {
		s.bad()
	}
}

func (s *teller) newAddress(word string) *matter {
	s.mail++
	return s.matter(journal.Invite, fmt.Sprintf("%sbox%d-%s@shops.example", word, s.mail, s.key.Shop))
}

func (s *teller) newCode(word string) *matter {
	s.codes++
	m := s.matter(journal.Activate, fmt.Sprintf("%skey%d-%s", word, s.codes, s.key.Shop))
	if s.first == nil && word == "" {
		s.first = m
	}
	return m
}

func (s *teller) matter(kind journal.Kind, subject string) *matter {
	m := &matter{kind: kind, shop: s.key, subject: subject, ids: map[string]bool{}}
	s.matters = append(s.matters, m)
	return m
}

// selects is a choice of Invoicebox, with whatever the platform repeats of it.
func (s *teller) selects(m *matter) {
	s.about(m, schemas.TypeProviderSelected, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":%q,"partnerAccount":%q}`, s.key.Shop, m.subject, s.key.Account))
}

func (s *teller) enters(m *matter) {
	s.about(m, schemas.TypeCodeEntered, fmt.Sprintf(`{"shopId":%q,"activationCode":%q,"partnerAccount":%q}`, s.key.Shop, m.subject, s.key.Account))
}

// about says an event, sometimes twice, sometimes again with another id, and
// rarely another one under its id.
func (s *teller) about(m *matter, typ, data string) {
	id := s.id()
	s.byID[id] = m
	m.ids[id] = true
	s.say(typ, id, data, markEvent)
	if s.chance(12) {
		s.say(typ, id, data, markEvent)
	}
	if s.chance(1) {
		s.say(typ, id, strings.Replace(data, `"shopId"`, `"note":"another content","shopId"`, 1), markEvent)
	}
	if s.chance(4) {
		again := s.id()
		s.byID[again] = m
		m.ids[again] = true
		s.say(typ, again, data, markEvent)
	}
}

func (s *teller) other() {
	s.say(schemas.TypeProviderSelected, s.id(), fmt.Sprintf(`{"shopId":%q,"provider":"another","partnerAccount":%q}`, s.key.Shop, s.key.Account), markOther)
}

// bad is a record that nobody can use, or one without a value.
func (s *teller) bad() {
	type recordOf struct{ typ, data, mark string }
	list := []recordOf{
		{schemas.TypeProviderSelected, `{"shopId":`, markBad},
		{schemas.TypeProviderSelected, `{"provider":"invoicebox","email":"a@shops.example"}`, markBad},
		{schemas.TypeProviderSelected, fmt.Sprintf(`{"shopId":%q,"provider":"invoicebox","email":"no address"}`, s.key.Shop), markBad},
		{schemas.TypeCodeEntered, fmt.Sprintf(`{"shopId":%q,"activationCode":"x","partnerAccount":"nobody"}`, s.key.Shop), markBad},
		{schemas.TypeCodeEntered, fmt.Sprintf(`{"shopId":%q,"activationCode":["x"],"partnerAccount":%q}`, s.key.Shop, s.key.Account), markBad},
		{schemas.TypeCodeEntered, ``, markTombstone},
	}
	b := list[s.rnd.IntN(len(list))]
	s.say(b.typ, s.id(), b.data, b.mark)
}

func (s *teller) id() string {
	s.events++
	return fmt.Sprintf("e%06d", s.events)
}

func (s *teller) say(typ, id, data, mark string) {
	m := event(typ, s.key.Shop, data)
	m.Headers = append(m.Headers, kafkago.Header{Key: markHeader, Value: []byte(mark)})
	for i := range m.Headers {
		if m.Headers[i].Key == "ce_id" {
			m.Headers[i].Value = []byte(id)
		}
	}
	if mark == markTombstone {
		m.Value = nil
	}
	s.shops[s.key] = append(s.shops[s.key], said{typ, m})
}

// waves deals what all shops say into n parts: each shop's in its order, the
// shops mixed.
func (w *world) waves(n int) [][]said {
	parts := make([][]said, n)
	for _, key := range w.order {
		// A shop begins somewhere and goes on after it.
		at := w.rnd.IntN(n)
		for _, one := range w.shops[key] {
			parts[at] = append(parts[at], one)
			at = min(n-1, at+w.rnd.IntN(8))
		}
	}
	return parts
}

func messagesOf(part []said, typ string) []kafkago.Message {
	var list []kafkago.Message
	for _, one := range part {
		if one.typ == typ {
			list = append(list, one.message)
		}
	}
	return list
}
