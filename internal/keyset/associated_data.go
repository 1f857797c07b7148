package keyset

import (
	"strconv"
)

// The domains of the worker's digests, and the associated data of its seals. Stored rows
// depend on them: a change makes old rows unreadable.
const (
	// DomainAddress digests normalised e-mail addresses.
	DomainAddress = "address"
	// DomainCode digests activation codes.
	DomainCode = "code"
	// DomainContent digests the content of events.
	DomainContent = "content"
	// DomainLetter digests the values of dead letters.
	DomainLetter = "letter"
	// DomainOutbox authenticates rows of the outbox.
	DomainOutbox = "outbox"
	// DomainStored authenticates secrets in a store outside of the journal.
	DomainStored = "stored"
	// DomainIntent authenticates rows of intents.
	DomainIntent = "intent"
)

// SubjectAAD binds the ciphertext of an address or a code: mac is the digest by which
// its operation is found.
func SubjectAAD(kind, account, shop string, mac []byte) string {
	return AssociatedData("subject", kind, account, shop, string(mac))
}

// SubjectText is the digested text of a normalised address or code. Equal ones of two
// accounts have unrelated digests.
func SubjectText(account, normalised string) []byte {
	return []byte(account + "\x00" + normalised)
}

// ResponseAAD binds the ciphertext of a response. Source is the attempt or the operator
// action that brought it: [AttemptSource], [ActionSource].
func ResponseAAD(account, shop, operation, source string) string {
	return AssociatedData("receipt", account, shop, operation, source)
}

// AttemptSource is the source of a response to an attempt.
func AttemptSource(id int64) string { return "attempt/" + strconv.FormatInt(id, 10) }

// ActionSource is the source of a response that an operator entered.
func ActionSource(id string) string { return "intent/" + id }

// EnteredTokenAAD binds the ciphertext of a merchant id and token that an operator entered.
func EnteredTokenAAD(intent, act, operation, account, shop, actor string) string {
	return AssociatedData("entered", intent, act, operation, account, shop, actor)
}

// CredentialAAD binds the ciphertext of a version of a shop's credentials.
func CredentialAAD(account, shop string, version int64) string {
	return AssociatedData("credential", account, shop, strconv.FormatInt(version, 10))
}

// DeadLetterAAD binds the ciphertext of a dead letter's record. Event is the id of the event
// that reports it: it differs for a record of a topic that was created again.
func DeadLetterAAD(topic string, partition int, offset int64, event string) string {
	return AssociatedData("letter", topic, strconv.Itoa(partition), strconv.FormatInt(offset, 10), event)
}

// CheckAAD binds the text by which a journal recognises its keyset.
func CheckAAD(identity string) string { return AssociatedData("check", identity) }

// A Column is a column whose values only the owner of the keyset can make.
type Column struct {
	Table, Name string
	// Key is the column with the id of the key; empty if the value begins with it.
	Key string
	// MAC: the value is a MAC over the row, not sealed.
	MAC bool
	// Binds describes what the value is bound to.
	Binds string
	// Refused describes what happens to a value that was moved or edited.
	Refused string
}

const ofJournal = "journal, "

// Columns returns the columns with sealed values, and those with the MACs of
// whole rows.
func Columns() []Column {
	return []Column{
		{Table: "event", Name: "subject", Key: "subject_key", Binds: ofJournal + "kind, account, shop, look-up MAC of the address or code, which identifies the operation",
			Refused: "attention `subject_unreadable`; nothing is sent"},
		{Table: "attempt", Name: "answer", Key: "answer_key", Binds: ofJournal + "account, shop, operation, attempt or operator action",
			Refused: "attention `answer_not_authentic`; nothing is stored or published as active"},
		{Table: "credential", Name: "secret", Key: "secret_key", Binds: ofJournal + "account, shop, version; merchant id and token sealed together",
			Refused: "attention `answer_not_authentic`; `resolve` refuses it"},
		{Table: "intent", Name: "token", Key: "token_key", Binds: ofJournal + "intent, act, operation, account, shop, actor; merchant id and token sealed together",
			Refused: "the action is refused with `not_authentic`; the operation stays in attention"},
		{Table: "dead_letter", Name: "record", Key: "record_key", Binds: ofJournal + "topic, partition, offset, id of the event that reports it",
			Refused: "the record cannot be decrypted"},
		{Table: "meta", Name: "keyset_check", Binds: "identity of the journal", Refused: "no command opens the journal"},
		{Table: "outbox", Name: "mac", MAC: true, Binds: ofJournal + "event id, type, sequence, key, value, headers",
			Refused: "the row is not published and stays in the outbox"},
		{Table: "intent", Name: "mac", MAC: true, Binds: ofJournal + "every column that the command writes: id, actor, act, account, operation, reason, merchant id, sealed token",
			Refused: "the action is refused with `not_authentic`"},
	}
}

// AssociatedData names a kind of ciphertext and its place. Two different lists of parts
// never have the same name.
func AssociatedData(what string, parts ...string) string {
	return string(appendAssociatedData(make([]byte, 0, 128), what, parts...))
}

// appendAssociatedData escapes the separator in the parts.
func appendAssociatedData(b []byte, what string, parts ...string) []byte {
	b = append(b, what...)
	for _, p := range parts {
		b = append(b, '/')
		for i := range len(p) {
			switch p[i] {
			case '%':
				b = append(b, "%25"...)
			case '/':
				b = append(b, "%2F"...)
			default:
				b = append(b, p[i])
			}
		}
	}
	return b
}
