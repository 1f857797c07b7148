package sandbox

import (
	"crypto/hmac"
	"crypto/sha1" // #nosec G505 -- the documented algorithm
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// The routes of the API.
const (
	InvitePath   = "/v3/notification/api/invite"
	ActivatePath = "/v3/billing/api/merchant/merchant-integration-setting/activation"
	CheckPath    = "/v3/security/api/auth/auth"
)

// Lengths of the documentation, in characters.
const (
	maxPartnerID  = 36
	maxIdentifier = 100
	maxCode       = 36
	maxMerchantID = 36
	maxToken      = 512
)

// maxBody bounds what is read of a request; a good one has under 1 KiB.
const maxBody = 64 << 10

// signers are the algorithms of X-Signature.
var signers = map[string]func() hash.Hash{
	"": sha1.New, "hmac-sha1": sha1.New, "hmac-sha256": sha256.New, "hmac-sha512": sha512.New,
}

// An exchange is one request and what became of it.
type exchange struct {
	op        Operation
	ip        string
	token     string // of Authorization; "" when there is none
	anonymous bool   // no Authorization at all
	signature string
	body      []byte
	partnerID string // of the body
	text      string // the code or the address, when it keeps to the contract
	fields    []field
	early     *answer // the route or the headers are wrong: before the token is looked at
	malformed *answer // the body is wrong: after it

	// Set on arrival, under the lock.
	state   *state
	record  *record
	number  uint64
	account *account // of the token
	shop    *subject // of the token
	peer    *client
	subject *subject
	lot     randomDraw
	arrived int64
}

// read understands a request as far as that needs no state.
func (s *Sandbox) read(r *http.Request) *exchange {
	ex := &exchange{op: Unknown, ip: hostOf(r.RemoteAddr)}
	ex.token, ex.anonymous = bearer(r.Header)
	ex.signature = r.Header.Get("X-Signature")
	ex.early = s.route(ex, r)
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	ex.body = body
	if ex.early == nil {
		ex.early = s.checkHeaders(ex.op, r)
	}
	if ex.op != Invite && ex.op != Activate {
		return ex
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		ex.malformed = s.problem(413, codeTooLarge, "the body is too large")
	} else if err != nil {
		ex.malformed = s.problem(400, codeBadRequest, "the body did not arrive whole")
	} else {
		s.readBody(ex)
	}
	return ex
}

func (s *Sandbox) problem(status int, code, message string, fields ...field) *answer {
	a := refusal(status, code, message, s.options.FlatErrors, fields...)
	return &a
}

// route finds the operation, or what is wrong with path and method.
func (s *Sandbox) route(ex *exchange, r *http.Request) *answer {
	path, ok := strings.CutPrefix(r.URL.Path, s.options.BasePath)
	method := http.MethodPost
	switch {
	case ok && path == InvitePath:
		ex.op = Invite
	case ok && path == ActivatePath:
		ex.op = Activate
	case ok && path == CheckPath:
		ex.op, method = Check, http.MethodGet
	default:
		return s.problem(404, codeNoRoute, "no route was found")
	}
	if r.Method == method {
		return nil
	}
	ex.op = Unknown
	a := s.problem(405, codeNoMethod, "the method is not allowed here")
	a.headers = []header{{"Allow", method}}
	return a
}

func (s *Sandbox) checkHeaders(op Operation, r *http.Request) *answer {
	h := r.Header
	if op == Unknown {
		return nil
	}
	if op != Check {
		kind := h.Get("Content-Type")
		if kind != "application/json" {
			if kind, _, err := mime.ParseMediaType(kind); err != nil || kind != "application/json" {
				return s.problem(415, codeNoType, "the content type must be application/json")
			}
		}
	}
	if accept := h.Get("Accept"); accept != "" && accept != "application/json" && !acceptsJSON(accept) {
		return s.problem(406, codeNoAccept, "only application/json is spoken here")
	}
	if s.options.StrictUserAgent && !documentedUserAgent(h.Get("User-Agent")) {
		return s.problem(400, codeBadRequest, "the User-Agent must have the form name/version (details)")
	}
	return nil
}

func acceptsJSON(accept string) bool {
	for kind := range strings.SplitSeq(accept, ",") {
		kind, _, _ = strings.Cut(kind, ";")
		if slices.Contains([]string{"application/json", "application/*", "*/*"}, strings.TrimSpace(kind)) {
			return true
		}
	}
	return false
}

// documentedUserAgent looks for name/version (details).
func documentedUserAgent(agent string) bool {
	name, rest, ok := strings.Cut(agent, "/")
	version, details, ok2 := strings.Cut(rest, " (")
	return ok && ok2 && name != "" && version != "" && len(details) > 1 && strings.HasSuffix(details, ")")
}

// bearer returns the token, and whether there is no Authorization at all.
func bearer(h http.Header) (token string, anonymous bool) {
	values := h["Authorization"]
	if len(values) == 0 {
		return "", true
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return token, false
}

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// readBody understands the body of an invitation or an activation: names are
// case-sensitive, unknown members are ignored.
func (s *Sandbox) readBody(ex *exchange) {
	var in struct {
		PartnerID      *string `json:"partnerId"`
		Type           *string `json:"type"`
		Identifier     *string `json:"identifier"`
		ActivationCode *string `json:"activationCode"`
	}
	if err := json.Unmarshal(ex.body, &in); err != nil {
		if wrong := (*json.SemanticError)(nil); errors.As(err, &wrong) && wrong.JSONPointer != "" {
			ex.fields = []field{{wrong.JSONPointer.LastToken(), "wrong_type", "the value must be a string"}}
			ex.malformed = s.problem(422, codeValidation, "the request has wrong values", ex.fields...)
			return
		}
		ex.malformed = s.problem(400, codeBadRequest, "the body is not a JSON object")
		return
	}
	ex.partnerID = ex.want("partnerId", in.PartnerID, maxPartnerID)
	if ex.op == Activate {
		ex.text = ex.want("activationCode", in.ActivationCode, maxCode)
	} else {
		if t := ex.want("type", in.Type, maxIdentifier); t != "" && t != "email" {
			ex.fields = append(ex.fields, field{"type", codeWrongValue, "the only value is email"})
		}
		ex.text = ex.want("identifier", in.Identifier, maxIdentifier)
	}
	if len(ex.fields) > 0 {
		ex.malformed = s.problem(422, codeValidation, "the request has wrong values", ex.fields...)
	}
}

// want returns a member that keeps to the contract, or notes what is wrong.
func (ex *exchange) want(name string, value *string, limit int) string {
	switch {
	case value == nil || *value == "":
		ex.fields = append(ex.fields, field{name, codeRequired, "the value is missing"})
	case len(*value) > limit && utf8.RuneCountInString(*value) > limit:
		ex.fields = append(ex.fields, field{name, codeTooLong, "the value is too long"})
	default:
		return *value
	}
	return ""
}

// signed tells whether the signature fits the account and the body.
func (a *account) signed(signature string, body []byte) bool {
	if a.SigningKey == "" {
		return true
	}
	mac := hmac.New(signers[a.SigningAlgorithm], []byte(a.SigningKey))
	mac.Write(body)
	decode := hex.DecodeString
	if a.SigningEncoding == "base64" {
		decode = base64.StdEncoding.DecodeString
	}
	got, err := decode(signature)
	return err == nil && hmac.Equal(got, mac.Sum(nil))
}
