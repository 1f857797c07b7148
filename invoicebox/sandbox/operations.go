package sandbox

import "strings"

// A reason is why the ordinary handling refuses.
type reason uint8

const (
	notRefused reason = iota
	reasonRejected
	reasonExpired
	reasonUsed
	reasonConflict
)

// ordinary handles a valid request as the documentation has it, and has its
// effect. The state's lock is held.
func (s *Sandbox) ordinary(st *state, ex *exchange, sh faultEffect) answer {
	switch ex.op {
	case Invite:
		return s.invite(ex, sh)
	case Activate:
		return s.activate(st, ex, sh)
	default:
		return s.checkToken(ex)
	}
}

func (s *Sandbox) invite(ex *exchange, sh faultEffect) answer {
	sub := ex.subject
	if sh.refuse == notRefused && !looksLikeAddress(sub.text) {
		sh.refuse = reasonRejected
	}
	switch sh.refuse {
	case notRefused:
	case reasonConflict:
		return refusal(409, codeRegistered, "this address is registered already", s.flatErrors(sub.text))
	default:
		return refusal(422, codeValidation, "the request has wrong values", s.flatErrors(sub.text),
			field{"identifier", codeWrongValue, "no mail can be sent to this address"})
	}
	sub.effects++
	form := s.idForm(sub.text)
	switch sh.variant {
	case intID:
		form = Ints
	case uuidID:
		form = UUIDs
	}
	id := s.seed.invitationID(sub.text, uint64(sub.effects), form)
	if sh.variant == noID {
		id = nil
	}
	return answer{status: 200, contentType: jsonType, body: invitationBody(id), effect: true}
}

// looksLikeAddress is as strict as a mail server that takes anything it could route.
func looksLikeAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	return at > 0 && at < len(s)-1 && !strings.ContainsAny(s[at+1:], " \t") && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func (s *Sandbox) activate(st *state, ex *exchange, sh faultEffect) answer {
	sub := ex.subject
	c := &sub.code
	partner := ex.account.PartnerID
	foreign := c.owner != "" && c.owner != partner
	why := sh.refuse
	switch {
	case why != notRefused:
	case s.options.OnlyPlantedCodes && !c.planted, foreign && !c.spent:
		why = reasonRejected
	case foreign:
		why = reasonUsed
	case c.spent && !c.reusable && !s.repeatable(sub.text):
		why = reasonUsed
	}
	if why != notRefused {
		return s.refuseCode(sub.text, why)
	}
	first := !c.spent
	if first {
		c.spent, c.owner = true, partner
		sub.effects++
		s.issue(st, sub, sh)
	}
	token := c.token
	if sh.variant == noToken {
		token = ""
	}
	return answer{status: 200, contentType: jsonType, body: activationBody(c.merchantID, token), effect: first}
}

// issue makes the code's merchant id and token and lets the token in.
func (s *Sandbox) issue(st *state, sub *subject, sh faultEffect) {
	c := &sub.code
	if c.merchantID == "" {
		c.merchantID = s.merchantOf(sub.text, sh.variant == sameMerchant)
	}
	if c.token == "" {
		c.token = s.seed.token(sub.text, s.options.Profile)
	}
	st.shops[c.token] = sub
}

func (s *Sandbox) merchantOf(code string, shared bool) string {
	if shared {
		code = "same-merchant-"
	}
	return s.seed.merchantID(code)
}

func (s *Sandbox) refuseCode(text string, why reason) answer {
	status := s.refusalStatus(text)
	var code, message string
	switch why {
	case reasonExpired:
		code, message = codeExpired, "the activation code is too old"
	case reasonUsed:
		code, message = codeUsed, "the activation code was used before"
	case reasonConflict:
		status, code, message = 409, codeActive, "the merchant is active already"
	default:
		code, message = codeRejected, "there is no such activation code"
	}
	if s.options.RefusalCode != "" {
		code = s.options.RefusalCode
	}
	var fields []field
	if s.refusalFields(text) {
		fields = []field{{"activationCode", codeWrongValue, message}}
	}
	return refusal(status, code, message, s.flatErrors(text), fields...)
}

// checkToken answers for whoever the token belongs to. A wrong token was refused
// before.
func (s *Sandbox) checkToken(ex *exchange) answer {
	ok := func(user string) answer {
		return answer{status: 200, contentType: jsonType, body: userBody(user)}
	}
	switch {
	case ex.account != nil:
		return ok(s.seed.merchantID("user of " + ex.account.PartnerID))
	case ex.shop == nil:
		return ok("")
	}
	c, f := &ex.shop.code, ex.shop.familiar
	c.checks++
	if f.fault != nil {
		switch f.shape.variant {
		case pendingToken:
			if f.number == 0 || c.checks <= uint64(f.number) {
				return s.wrongToken()
			}
		case badToken:
			return s.wrongToken()
		case nullUser:
			return ok("")
		}
	}
	return ok(c.merchantID)
}

func (s *Sandbox) wrongToken() answer {
	if s.options.WrongTokenStatus == 403 {
		return refusal(403, codeForbidden, "access is denied", s.options.FlatErrors)
	}
	return refusal(401, codeUnauthorized, "the token is wrong", s.options.FlatErrors)
}
