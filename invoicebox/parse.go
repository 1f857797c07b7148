package invoicebox

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"invoicebox-worker/internal/secret"
)

// Bounds of what a response's members may be, in bytes.
const (
	maxInvitationID = 128
	maxMerchantID   = 36
)

// An Invitation is what a good response to Invite says.
type Invitation struct {
	// ID is the invitation's id, a number or a text at Invoicebox, at most 128
	// bytes of visible ASCII. Empty where the response has none of that form.
	ID string
}

// An Activation is what a good response to Activate says.
type Activation struct {
	// MerchantID is 1 to 36 characters of visible ASCII, as documented: the
	// events promise no more.
	MerchantID string
	// Token is the shop's token: 1 to 4096 bytes of visible ASCII (512 are
	// documented), good for an Authorization header.
	Token secret.String
}

// A CheckResult is what a response to a token check proves.
type CheckResult struct {
	// Valid tells that the token belongs to a user.
	Valid bool
	// Conclusive tells that the response speaks of the token. Where it does not
	// (a limit, a fault, a gateway's page), Valid is false and says nothing.
	Conclusive bool
}

// ParseInvitation reads the response to an invitation. The error is
// ErrUnreadable; the invitation was executed where the status is 2xx.
func ParseInvitation(x Exchange) (Invitation, error) {
	data, err := readData(x, Invite)
	if err != nil {
		return Invitation{}, err
	}
	// The invitation was sent, whatever is said of its id.
	given, _ := members(data, "id")
	id := ""
	switch raw := given[0]; raw.Kind() {
	case jsontext.KindString:
		id = text(raw)
	case jsontext.KindNumber:
		id = string(raw)
	}
	// An id is published; a response that echoes the address must not be.
	if !visible(id) || len(id) > maxInvitationID || strings.Contains(id, "@") {
		id = ""
	}
	return Invitation{ID: id}, nil
}

// ParseActivation reads the response to an activation. The error is
// ErrUnreadable and names the member, never a value; the code is spent all the
// same where the status is 2xx.
func ParseActivation(x Exchange) (Activation, error) {
	data, err := readData(x, Activate)
	if err != nil {
		return Activation{}, err
	}
	given, err := members(data, "merchantId", "token")
	if err != nil {
		return Activation{}, unreadable("data.token or data.merchantId stands twice")
	}
	merchant, token := plainText(given[0]), plainText(given[1])
	switch {
	case !visible(token) || len(token) > maxTokenBytes:
		return Activation{}, unreadable("data.token is missing or not of a token's form")
	case !visible(merchant) || len(merchant) > maxMerchantID:
		return Activation{}, unreadable("data.merchantId is missing or not of an id's form")
	case merchant == token:
		// The merchant id is published.
		return Activation{}, unreadable("data.merchantId and data.token are the same")
	}
	return Activation{MerchantID: merchant, Token: secret.New(token)}, nil
}

// ParseCheck reads the response to a token check. The error is ErrUnreadable,
// for a 2xx response that is not one; the result is then not conclusive.
func ParseCheck(x Exchange) (CheckResult, error) {
	switch {
	case x.Status == 401:
		return CheckResult{Conclusive: true}, nil
	case x.Status == 403:
		// A gateway's page refuses the caller, not the token.
		kind, _ := readFailure(x)
		return CheckResult{Conclusive: kind != codelessBody}, nil
	case !x.Success():
		return CheckResult{}, nil
	}
	data, err := readData(x, Check)
	if err != nil {
		return CheckResult{}, err
	}
	given, err := members(data, "userId")
	if err != nil {
		return CheckResult{}, unreadable("data.userId stands twice")
	}
	switch id := given[0]; id.Kind() {
	case jsontext.KindNull:
		return CheckResult{Conclusive: true}, nil
	case jsontext.KindNumber:
		return CheckResult{Valid: true, Conclusive: true}, nil
	case jsontext.KindString:
		if text(id) != "" {
			return CheckResult{Valid: true, Conclusive: true}, nil
		}
	}
	return CheckResult{}, unreadable("data.userId is missing or not an id")
}

// readData gives the object under data of a complete 2xx response without an
// error beside it.
func readData(x Exchange, op Operation) (jsontext.Value, error) {
	switch {
	case x.Operation != op && (op != Check || x.Operation != CheckOwn):
		return nil, unreadable("the exchange is of another operation")
	case !x.Success():
		return nil, unreadable("the status is not that of a success")
	case x.TooLarge:
		return nil, unreadable("the body is too large")
	case !x.BodyComplete:
		return nil, unreadable("the body is not complete")
	}
	plain, err := x.unpacked()
	if err != nil {
		return nil, unreadable("the unpacked body is too large")
	}
	object := readObject(plain)
	if object == nil {
		return nil, unreadable("the body is not a JSON object that can be read")
	}
	top, err := members(object, "data", "error")
	switch {
	case err != nil:
		return nil, unreadable("data or error stands twice")
	case !emptyError(top[1]):
		return nil, unreadable("the body has an error")
	case top[0].Kind() != jsontext.KindBeginObject:
		return nil, unreadable("data is missing or not an object")
	}
	return top[0], nil
}

func unreadable(what string) error { return fmt.Errorf("invoicebox: %w: %s", ErrUnreadable, what) }
