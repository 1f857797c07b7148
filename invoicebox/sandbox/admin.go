package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxAdminBody bounds an admin request; a planted body of a response is part of it.
const maxAdminBody = 1 << 20

// Admin returns the handler that plants, shows and resets. It belongs on a
// listener of its own: it asks nobody for a password. Because a browser can be
// led to any local address under a name of the attacker's, the Host header must
// be localhost, an IP address or one of Options.AdminHosts, and a POST must be
// application/json.
func (s *Sandbox) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /codes", s.adminCodes)
	mux.HandleFunc("POST /answers", s.adminAnswers)
	mux.HandleFunc("GET /requests", s.adminRequests)
	mux.HandleFunc("GET /effects", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Effects()) })
	mux.HandleFunc("GET /windows", func(w http.ResponseWriter, _ *http.Request) {
		windows := s.Windows()
		writeJSON(w, struct {
			Window string `json:"window"`
			Windows
		}{windows.Window.String(), windows})
	})
	mux.HandleFunc("DELETE /state", func(w http.ResponseWriter, _ *http.Request) {
		s.Reset()
		w.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.adminHost(r.Host) {
			adminError(w, http.StatusForbidden, "the Host header must be localhost, an IP address or a name that the settings allow")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Sandbox) adminHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	for _, name := range s.options.AdminHosts {
		if strings.EqualFold(host, name) {
			return true
		}
	}
	return false
}

// A codeDocument is the body of POST /codes, and of its response, which names what
// the sandbox has filled in.
type codeDocument struct {
	Code       string `json:"code"`
	MerchantID string `json:"merchantId"`
	Token      string `json:"token"`
	PartnerID  string `json:"partnerId"`
	Reusable   bool   `json:"reusable"`
}

func (s *Sandbox) adminCodes(w http.ResponseWriter, r *http.Request) {
	var in codeDocument
	if !readAdmin(w, r, &in) {
		return
	}
	if err := s.AddCode(Code(in)); err != nil {
		adminError(w, statusOf(err), err.Error())
		return
	}
	in.MerchantID, in.Token = s.MerchantOf(in.Code), s.TokenOf(in.Code)
	writeJSON(w, in)
}

func (s *Sandbox) adminAnswers(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Operation string            `json:"operation"`
		Match     string            `json:"match"`
		Times     int               `json:"times"`
		Status    int               `json:"status"`
		Headers   map[string]string `json:"headers"`
		Body      jsontext.Value    `json:"body"`
		Delay     string            `json:"delay"`
		Effect    bool              `json:"effect"`
		Cut       string            `json:"cut"`
	}
	if !readAdmin(w, r, &in) {
		return
	}
	a := Stub{
		Operation: Operation(in.Operation), Match: in.Match, Times: in.Times, Status: in.Status,
		Headers: in.Headers, Effect: in.Effect, Abort: Abort(in.Cut),
	}
	var err error
	if a.Body, err = bodyOf(in.Body); err == nil && in.Delay != "" {
		if a.Delay, err = time.ParseDuration(in.Delay); err != nil {
			err = fmt.Errorf("sandbox: delay %q: want a duration such as 1.5s", in.Delay)
		}
	}
	if err == nil {
		err = s.AddStub(a)
	}
	if err != nil {
		adminError(w, statusOf(err), err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// bodyOf takes a string as the bytes themselves and anything else as JSON.
func bodyOf(v jsontext.Value) ([]byte, error) {
	switch {
	case len(v) == 0 || v.Kind() == 'n':
		return nil, nil
	case v.Kind() != '"':
		return bytes.Clone(v), nil
	}
	text, err := jsontext.AppendUnquote([]byte{}, v)
	if err != nil {
		return nil, errors.New("sandbox: body: the string is not valid JSON")
	}
	return text, nil
}

func (s *Sandbox) adminRequests(w http.ResponseWriter, _ *http.Request) {
	st := s.state.Load()
	st.mu.Lock()
	total := st.log.total
	st.mu.Unlock()
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("X-Total-Count", fmt.Sprint(total))
	_, _ = io.WriteString(w, "[")
	for from := 0; ; {
		part := s.requestsFrom(st, from)
		if len(part) == 0 {
			break
		}
		b, err := json.Marshal(part)
		if err != nil {
			return // cannot be: the type is plain
		}
		if from > 0 {
			_, _ = io.WriteString(w, ",")
		}
		if _, err := w.Write(b[1 : len(b)-1]); err != nil {
			return
		}
		from += len(part)
	}
	_, _ = io.WriteString(w, "]\n")
}

// readAdmin decodes a body strictly, or answers 400 with what is wrong and where.
func readAdmin(w http.ResponseWriter, r *http.Request, into any) bool {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		adminError(w, http.StatusUnsupportedMediaType, "the content type must be application/json")
		return false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
	if err != nil {
		adminError(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body must have at most %d bytes", maxAdminBody))
		return false
	}
	if kind := jsontext.Value(bytes.TrimLeft(body, " \t\r\n")).Kind(); kind != '{' {
		adminError(w, http.StatusBadRequest, "the body must be a JSON object")
		return false
	}
	err = json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err == nil {
		return true
	}
	message := "the body is not valid JSON"
	if wrong := (*json.SemanticError)(nil); errors.As(err, &wrong) {
		message = fmt.Sprintf("member %q: want %s", wrong.JSONPointer, wanted(wrong))
		if errors.Is(err, json.ErrUnknownName) {
			message = fmt.Sprintf("member %q: there is no such member", wrong.JSONPointer)
		}
	}
	adminError(w, http.StatusBadRequest, message)
	return false
}

func wanted(e *json.SemanticError) string {
	if e.GoType == nil {
		return "another type"
	}
	switch e.GoType.Kind().String() {
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "int":
		return "a whole number"
	default:
		return "an object of strings"
	}
}

func statusOf(err error) int {
	if errors.Is(err, ErrFull) {
		return http.StatusInsufficientStorage
	}
	return http.StatusBadRequest
}

func adminError(w http.ResponseWriter, status int, message string) {
	b := quote([]byte(`{"error":`), strings.TrimPrefix(message, "sandbox: "))
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '}', '\n'))
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		adminError(w, http.StatusInternalServerError, "the response cannot be written")
		return
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(append(b, '\n'))
}
