package invoicebox

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"invoicebox-worker/internal/secret"
)

// Bounds of what an answer's members may be, in bytes.
const (
	maxInvitationID = 128
	maxMerchantID   = 36
)

// An Invitation is what a good answer to Invite says.
type Invitation struct {
	// ID is the invitation's id, a number or a text at Invoicebox, at most 128
	// bytes of visible ASCII. Empty where the answer has none of that form.
	ID string
}

// An Activation is what a good answer to Activate says.
type Activation struct {
	// MerchantID is 1 to 36 characters of visible ASCII, as documented: the
	// events promise no more.
	MerchantID string
	// Token is the shop's token: 1 to 4096 bytes of visible ASCII (512 are
	// documented), good for an Authorization header.
	Token secret.String
}

// A CheckResult is what an answer to a token check proves.
type CheckResult struct {
	// Valid tells that the token belongs to a user.
	Valid bool
	// Conclusive tells that the answer speaks of the token. Where it does not
	// (a limit, a fault, a gateway's page), Valid is false and says nothing.
	Conclusive bool
}

// ParseInvitation reads the answer to an invitation. The error is
// ErrUnreadable; the invitation was executed where the status is 2xx.
func ParseInvitation(x Exchange) (Invitation, error) {
	data, err := readData(x, Invite)
	if err != nil {
		return Invitation{}, err
	}
	var out struct {
		ID jsontext.Value `json:"id"`
	}
	if json.Unmarshal(data, &out) != nil {
		return Invitation{}, unreadable("data cannot be read")
	}
	id := ""
	switch out.ID.Kind() {
	case jsontext.KindString:
		id = text(out.ID)
	case jsontext.KindNumber:
		id = string(out.ID)
	}
	// An id is published; an answer that echoes the address must not be.
	if !visible(id) || len(id) > maxInvitationID || strings.Contains(id, "@") {
		id = ""
	}
	return Invitation{ID: id}, nil
}

// ParseActivation reads the answer to an activation. The error is
// ErrUnreadable and names the member, never a value; the code is spent all the
// same where the status is 2xx.
func ParseActivation(x Exchange) (Activation, error) {
	data, err := readData(x, Activate)
	if err != nil {
		return Activation{}, err
	}
	var out struct {
		MerchantID jsontext.Value `json:"merchantId"`
		Token      jsontext.Value `json:"token"`
	}
	if json.Unmarshal(data, &out) != nil {
		return Activation{}, unreadable("data cannot be read")
	}
	merchant, token := text(out.MerchantID), text(out.Token)
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

// ParseCheck reads the answer to a token check. The error is ErrUnreadable,
// for a 2xx answer that is not one; the result is then not conclusive.
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
	var out struct {
		UserID jsontext.Value `json:"userId"`
	}
	if json.Unmarshal(data, &out) != nil {
		return CheckResult{}, unreadable("data cannot be read")
	}
	switch out.UserID.Kind() {
	case jsontext.KindNull:
		return CheckResult{Conclusive: true}, nil
	case jsontext.KindNumber:
		return CheckResult{Valid: true, Conclusive: true}, nil
	case jsontext.KindString:
		if text(out.UserID) != "" {
			return CheckResult{Valid: true, Conclusive: true}, nil
		}
	}
	return CheckResult{}, unreadable("data.userId is missing or not an id")
}

// readData gives the object under data of a complete 2xx answer without an
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
	case !utf8.Valid(x.Body):
		return nil, unreadable("the body is not UTF-8")
	}
	var top struct {
		Data  jsontext.Value `json:"data"`
		Error jsontext.Value `json:"error"`
	}
	if json.Unmarshal(x.Body, &top) != nil {
		return nil, unreadable("the body is not a JSON object that can be read")
	}
	if k := top.Error.Kind(); k != jsontext.KindInvalid && k != jsontext.KindNull {
		return nil, unreadable("the body has an error")
	}
	if top.Data.Kind() != jsontext.KindBeginObject {
		return nil, unreadable("data is missing or not an object")
	}
	return top.Data, nil
}

func unreadable(what string) error { return fmt.Errorf("invoicebox: %w: %s", ErrUnreadable, what) }
