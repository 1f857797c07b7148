package schemas

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Format is how an event is laid out in a record.
type Format string

// The formats of CloudEvents' Kafka binding.
const (
	FormatBinary     Format = "binary"     // attributes in ce_ headers, data as the value; the default
	FormatStructured Format = "structured" // everything in the value
)

// ParseFormat reads a setting; empty is [FormatBinary].
func ParseFormat(text string) (Format, error) {
	switch f := Format(text); f {
	case "":
		return FormatBinary, nil
	case FormatBinary, FormatStructured:
		return f, nil
	}
	return "", errors.New("schemas: an event format is binary or structured")
}

// An Event is a result as published.
type Event struct {
	ID     string // 1 to MaxIDBytes; the same for every repeat of the event
	Source string // 1 to MaxSourceBytes; who publishes
	Type   string // one of OutputTypes, fitting Data
	// Subject is the shop id; for a dead letter `topic/partition/offset`. Empty
	// when encoding: taken from Data.
	Subject string
	Time    time.Time // when it was decided
	// Sequence rises per account and shop, from 1: who keeps the highest is never
	// taken back by a late repeat. A dead letter has none (0).
	Sequence int64
	// CausationID is the id of the event that caused this one, OperationID that of
	// the operation behind it. A dead letter may lack both.
	CausationID, OperationID string
	TraceParent, TraceState  string // may be empty
	Data                     Data
}

// An OutputOption changes how [DecodeOutput] reads.
type OutputOption int

// Strict refuses whatever [Encode] would not have written: unknown members,
// words outside the closed sets, a credentials reference that is not the
// shop's. It is for tests; a subscriber that uses it breaks with the first
// addition to the contract.
const Strict OutputOption = 1

// DecodeOutput reads a published event, in either format, for those who
// subscribe to it. Data is one of the structs of this package, by value. The
// topic is not looked at: topics can be renamed, types cannot.
//
// Without [Strict] it is tolerant: unknown members, headers and extensions are
// ignored and a word that a closed set does not hold yet is handed over as it
// is. What a subscriber acts upon is checked in any case: type, id, subject and
// shop id, and, where there are credentials, that their reference parses and
// is this shop's.
func DecodeOutput(m Message, options ...OutputOption) (Event, error) {
	strict := slices.Contains(options, Strict)
	if len(m.Value) == 0 {
		return Event{}, errEvent("value")
	}
	e, data, err := readEvent(m, strict)
	if err != nil {
		return Event{}, err
	}
	if e.Data, err = decodeOutputData(e.Type, data); err != nil {
		return Event{}, err
	}
	if strict {
		return checked(e, e.checkStrictly(m, data))
	}
	return checked(e, e.checkEssentials())
}

// checked gives no event with an error: nobody should act on half of one.
func checked(e Event, err error) (Event, error) {
	if err != nil {
		return Event{}, err
	}
	return e, nil
}

func (e Event) checkStrictly(m Message, data []byte) error {
	if err := Validate(e.Type, data); err != nil {
		return fmt.Errorf("%w: %w", ErrEvent, err)
	}
	if key, _ := keys(e.Data); key != string(m.Key) {
		return errEvent("key")
	}
	if size(m) > MaxOutputBytes {
		return ErrTooLarge
	}
	return e.check()
}

// checkEssentials is what also a newer worker must keep to.
func (e Event) checkEssentials() error {
	if e.ID == "" {
		return errEvent("id")
	}
	if e.Type == TypeDeadLetter {
		return nil
	}
	account, shop := e.Data.Shop()
	if checkText(shop, MaxShopBytes) != "" {
		return errEvent("data/shopId")
	}
	if e.Subject != shop {
		return errEvent("subject")
	}
	if d, ok := e.Data.(CredentialsData); ok {
		return d.Reference().check(account, shop)
	}
	return nil
}

func (c Credentials) check(account, shop string) error {
	ref, err := ParseReference(c.Ref)
	if err != nil || ref.Account != account || ref.Shop != shop {
		return errEvent("data/credentials/ref")
	}
	return nil
}
