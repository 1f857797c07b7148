package schemas

import "strings"

// identity reads source and id.
func (r *decodeState) identity(in *Input) *InvalidError {
	if r.mode == modePlain {
		id, where, reason := r.plainID()
		if reason != "" {
			return &InvalidError{Reason: reason, Where: where}
		}
		in.ID = id
		return nil
	}
	if fault := r.required(r.env.id, "id", MaxIDBytes); fault != nil {
		return fault
	}
	if fault := r.required(r.env.source, "source", MaxSourceBytes); fault != nil {
		return fault
	}
	in.ID, in.Source = string(r.env.id), string(r.env.source)
	return nil
}

// plainID finds the id of plain JSON: in the header, else in the member, else
// there is none.
func (r *decodeState) plainID() (id, where string, reason InvalidReason) {
	if len(r.env.id) > 0 {
		id, where = string(r.env.id), strings.ToLower(r.decoder.idHeader)
	} else if !isAbsent(r.data.id) {
		where = "/" + pointerEscaper.Replace(r.decoder.idMember)
		if id, reason = stringOrInteger(r.data.id); reason != "" {
			return "", where, reason
		}
	}
	if id == "" {
		return "", "", ""
	}
	if reason = checkText(id, MaxIDBytes); reason != "" {
		return "", where, reason
	}
	return id, "", ""
}

// safeID is the event's id when it can be shown, whatever else is wrong.
func (r *decodeState) safeID() string {
	id := string(r.env.id)
	if r.mode == modePlain {
		id, _, _ = r.plainID()
	}
	if checkText(id, MaxIDBytes) != "" {
		return ""
	}
	return id
}

// shop reads the shop id and compares the subject with it.
func (r *decodeState) shop() (string, *InvalidError) {
	where := r.pointer(memberShop)
	if r.data.shop == nil {
		return "", &InvalidError{Reason: ReasonMissing, Where: where}
	}
	shop, reason := stringOrInteger(r.data.shop)
	if reason == "" {
		reason = checkText(shop, MaxShopBytes)
	}
	if reason != "" {
		return "", &InvalidError{Reason: reason, Where: where}
	}
	if len(r.env.subject) > 0 && string(r.env.subject) != shop {
		return "", &InvalidError{Reason: ReasonSubjectDiffers, Where: r.attribute("subject")}
	}
	return shop, nil
}

// readableShop is whose event a dead letter is, as far as it could be read and
// is fit to be shown. The subject is the shop id by contract.
func (r *decodeState) readableShop() (account, shop string) {
	var reason InvalidReason
	if r.data.shop != nil {
		shop, reason = stringOrInteger(r.data.shop)
	} else if r.mode != modePlain {
		shop = string(r.env.subject)
	}
	if reason != "" || checkText(shop, MaxShopBytes) != "" {
		return "", ""
	}
	account, fault := r.account()
	if fault != nil {
		return "", shop
	}
	return account, shop
}

func (r *decodeState) account() (string, *InvalidError) {
	account := r.decoder.defaultAccount
	if raw := r.data.account; !isAbsent(raw) {
		if raw.Kind() != '"' {
			return "", &InvalidError{Reason: ReasonWrongType, Where: r.pointer(memberAccount)}
		}
		account = unquote(raw)
		if account == "" {
			return "", &InvalidError{Reason: ReasonEmpty, Where: r.pointer(memberAccount)}
		}
	}
	if !r.decoder.accounts[account] {
		return "", &InvalidError{Reason: ReasonUnknownAccount, Where: r.pointer(memberAccount)}
	}
	return account, nil
}

func (r *decodeState) email() (string, *InvalidError) {
	raw, where := r.data.email, r.pointer(memberEmail)
	if raw == nil {
		return "", &InvalidError{Reason: ReasonMissing, Where: where}
	}
	if raw.Kind() != '"' {
		return "", &InvalidError{Reason: ReasonWrongType, Where: where}
	}
	email := trimmed(unquote(raw))
	if reason := checkEmail(email); reason != "" {
		return "", &InvalidError{Reason: reason, Where: where}
	}
	return email, nil
}

func (r *decodeState) code() (string, *InvalidError) {
	raw, where := r.data.code, r.pointer(memberCode)
	if raw == nil {
		return "", &InvalidError{Reason: ReasonMissing, Where: where}
	}
	code, reason := stringOrInteger(raw)
	if code = trimmed(code); reason == "" {
		reason = checkRunes(code, MaxCodeChars)
	}
	if reason != "" {
		return "", &InvalidError{Reason: reason, Where: where}
	}
	return code, nil
}
