package journal

import "time"

// An AddressRule keeps the operations of an account from sending e-mails to one
// address in quick succession.
type AddressRule struct {
	// MAC is that of the operation; the attempt keeps it.
	MAC []byte
	// MACs are of the same address, under every look-up key.
	MACs     [][]byte
	CoolDown time.Duration
	// Without are the outcomes of attempts that certainly sent no e-mail.
	Without []string
}

// An AddressCoolDownError says that another operation of the account sent, or may
// have sent, an e-mail to the address within the cool-down.
type AddressCoolDownError struct {
	At time.Time // when that attempt was started
	// Open: the attempt can still end without an e-mail.
	Open bool
}

func (e *AddressCoolDownError) Error() string {
	return "journal: the address got an e-mail within the cool-down"
}
