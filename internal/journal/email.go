package journal

import "time"

// An AddressRule prevents the operations of an account from sending e-mails to one address
// in quick succession.
type AddressRule struct {
	// MAC is the operation's look-up MAC of the address; the attempt stores it.
	MAC []byte
	// MACs are the MACs of the address under every look-up key.
	MACs     [][]byte
	CoolDown time.Duration
	// Without are the outcomes of attempts that sent no e-mail.
	Without []string
}

// An AddressCoolDownError reports that another operation of the account sent, or may have
// sent, an e-mail to the address within the cool-down.
type AddressCoolDownError struct {
	At time.Time // when that attempt was started
	// Open: the attempt can still end without an e-mail.
	Open bool
}

func (e *AddressCoolDownError) Error() string {
	return "journal: the address got an e-mail within the cool-down"
}
