package schemas

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"invoicebox-worker/internal/secret"
)

// DecoderOptions configure a [Decoder].
type DecoderOptions struct {
	// Types maps each topic that is read to the event that it carries, one of
	// [InputTypes]. Empty: every input type under its own name.
	Types map[string]string
	// Accounts are the names of the partner accounts that exist. Empty: only
	// DefaultAccount.
	Accounts []string
	// DefaultAccount is whose an event is that names none. Empty: "default".
	DefaultAccount string
	// IDHeader and IDMember name the header, and the member of the data, that
	// carry an id where plain JSON is read; the header is asked first. Both may be
	// empty.
	IDHeader, IDMember string
	// MaxValueBytes bounds a value; above it a record is Invalid without being
	// parsed. 0: [DefaultMaxValueBytes].
	MaxValueBytes int
}

// Content is what a keyed digest of an event covers: its type and data in
// canonical JSON (RFC 8785, except that integers keep all their digits). It
// holds the secrets of the event and shows itself under no verb.
type Content []byte

// Format implements fmt.Formatter and gives nothing away.
func (c Content) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[content]")) }

// LogValue implements slog.LogValuer.
func (c Content) LogValue() slog.Value { return slog.StringValue("[content]") }

// MarshalText implements encoding.TextMarshaler and gives nothing away.
func (c Content) MarshalText() ([]byte, error) { return []byte("[content]"), nil }

// An Input is an event that was read, checked and understood.
type Input struct {
	Type   string // one of InputTypes
	Source string // CloudEvents source; empty for plain JSON
	// ID is the event's id. Empty for plain JSON without one: the caller makes it
	// with RecordID.
	ID   string
	Time time.Time // of the event, else of the record; UTC
	// TimeDropped tells that the event has a time that could not be read for
	// certain, so that Time is the record's. To be counted, nothing more.
	TimeDropped bool
	Account     string // known to the decoder
	Shop        string

	Email secret.String // for TypeProviderSelected, trimmed
	Code  secret.String // for TypeCodeEntered, trimmed

	// TraceParent and TraceState are the W3C trace context when it is well
	// formed; a malformed one is dropped.
	TraceParent, TraceState string
	// KeyDiffers tells that the record has a key and it is not the shop id: the
	// order per shop is then not Kafka's. To be counted, nothing more.
	KeyDiffers bool
	Content    Content
}

// A Decoder turns records into inputs. It has no state and is safe for
// concurrent use.
type Decoder struct {
	types          map[string]string
	accounts       map[string]bool
	defaultAccount string
	idHeader       string
	idMember       string
	maxValueBytes  int
}

// NewDecoder checks the options. Its errors name a setting, never an event.
func NewDecoder(o DecoderOptions) (*Decoder, error) {
	d := &Decoder{
		types:          make(map[string]string),
		accounts:       make(map[string]bool),
		defaultAccount: o.DefaultAccount,
		idHeader:       o.IDHeader,
		idMember:       o.IDMember,
		maxValueBytes:  o.MaxValueBytes,
	}
	if len(o.Types) == 0 {
		for _, typ := range inputTypes {
			d.types[typ] = typ
		}
	}
	for topic, typ := range o.Types {
		if topic == "" || len(topic) > MaxTopicBytes {
			return nil, errors.New("schemas: a topic's name is missing or too long")
		}
		if !inList(inputTypes, typ) {
			return nil, errors.New("schemas: a topic is mapped to something that is not an input event")
		}
		d.types[topic] = typ
	}
	if d.defaultAccount == "" {
		d.defaultAccount = "default"
	}
	if len(o.Accounts) == 0 {
		d.accounts[d.defaultAccount] = true
	}
	for _, account := range o.Accounts {
		if checkText(account, MaxAccountBytes) != "" {
			return nil, errors.New("schemas: an account's name is empty, over 64 bytes or holds a control character")
		}
		d.accounts[account] = true
	}
	switch d.idMember {
	case memberShop, memberProvider, memberEmail, memberCode, memberAccount:
		// An id travels into headers and logs: it must never be the code or the address.
		return nil, errors.New("schemas: the member that carries an id cannot be one that the contract defines")
	}
	for _, name := range []string{d.idHeader, d.idMember} {
		if name != "" && checkText(name, MaxWhereBytes-1) != "" {
			return nil, errors.New("schemas: the name of the header or member that carries an id is over 63 bytes or holds a control character")
		}
	}
	if d.maxValueBytes < 0 {
		return nil, errors.New("schemas: the limit of a value is negative")
	}
	if d.maxValueBytes == 0 {
		d.maxValueBytes = DefaultMaxValueBytes
	}
	return d, nil
}

func inList[T comparable](list []T, want T) bool {
	return slices.Contains(list, want)
}
