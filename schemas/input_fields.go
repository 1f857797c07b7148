package schemas

import "strings"

// identity reads source and id.
func (r *reading) identity(in *Input) *Invalid {
	if r.mode == modePlain {
		id, where, reason := r.plainID()
		if reason != "" {
			return &Invalid{Reason: reason, Where: where}
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
func (r *reading) plainID() (id, where string, reason Reason) {
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
	if reason = textFault(id, MaxIDBytes); reason != "" {
		return "", where, reason
	}
	return id, "", ""
}

// safeID is the event's id when it can be shown, whatever else is wrong.
func (r *reading) safeID() string {
	id := string(r.env.id)
	if r.mode == modePlain {
		id, _, _ = r.plainID()
	}
	if textFault(id, MaxIDBytes) != "" {
		return ""
	}
	return id
}

// shop reads the shop id and compares the subject with it.
func (r *reading) shop() (string, *Invalid) {
	where := r.at(memberShop)
	if r.data.shop == nil {
		return "", &Invalid{Reason: ReasonMissing, Where: where}
	}
	shop, reason := stringOrInteger(r.data.shop)
	if reason == "" {
		reason = textFault(shop, MaxShopBytes)
	}
	if reason != "" {
		return "", &Invalid{Reason: reason, Where: where}
	}
	if len(r.env.subject) > 0 && string(r.env.subject) != shop {
		return "", &Invalid{Reason: ReasonSubjectDiffers, Where: r.attribute("subject")}
	}
	return shop, nil
}

// readableShop is whose event a dead letter is, as far as it could be read and
// is fit to be shown. The subject is the shop id by contract.
func (r *reading) readableShop() (account, shop string) {
	var reason Reason
	if r.data.shop != nil {
		shop, reason = stringOrInteger(r.data.shop)
	} else if r.mode != modePlain {
		shop = string(r.env.subject)
	}
	if reason != "" || textFault(shop, MaxShopBytes) != "" {
		return "", ""
	}
	account, fault := r.account()
	if fault != nil {
		return "", shop
	}
	return account, shop
}

func (r *reading) account() (string, *Invalid) {
	account := r.decoder.defaultAccount
	if raw := r.data.account; !isAbsent(raw) {
		if raw.Kind() != '"' {
			return "", &Invalid{Reason: ReasonWrongType, Where: r.at(memberAccount)}
		}
		account = unquoted(raw)
		if account == "" {
			return "", &Invalid{Reason: ReasonEmpty, Where: r.at(memberAccount)}
		}
	}
	if !r.decoder.accounts[account] {
		return "", &Invalid{Reason: ReasonUnknownAccount, Where: r.at(memberAccount)}
	}
	return account, nil
}

func (r *reading) email() (string, *Invalid) {
	raw, where := r.data.email, r.at(memberEmail)
	if raw == nil {
		return "", &Invalid{Reason: ReasonMissing, Where: where}
	}
	if raw.Kind() != '"' {
		return "", &Invalid{Reason: ReasonWrongType, Where: where}
	}
	email := trimmed(unquoted(raw))
	if reason := emailFault(email); reason != "" {
		return "", &Invalid{Reason: reason, Where: where}
	}
	return email, nil
}

func (r *reading) code() (string, *Invalid) {
	raw, where := r.data.code, r.at(memberCode)
	if raw == nil {
		return "", &Invalid{Reason: ReasonMissing, Where: where}
	}
	code, reason := stringOrInteger(raw)
	if code = trimmed(code); reason == "" {
		reason = charFault(code, MaxCodeChars)
	}
	if reason != "" {
		return "", &Invalid{Reason: reason, Where: where}
	}
	return code, nil
}
