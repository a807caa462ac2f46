package hl7_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/hl7"
)

func TestReply(t *testing.T) {
	at := time.Date(2025, 3, 14, 10, 15, 31, 0, time.FixedZone("", 9*3600))
	korean := strings.Replace(head, "UNICODE UTF-8", "KS X 1001", 1)
	for name, c := range map[string]struct {
		in   string
		code hl7.AckCode
		r    hl7.Receipt
		want string
	}{
		"accepted": {
			head, hl7.AA,
			hl7.Receipt{ControlID: "K1", Time: at},
			"MSH|^~\\&|EMR|CLINIC01|EYEHOST|CLINIC01|20250314101531+0900||ACK^R01^ACK|K1|P|2.5.1||||||UNICODE UTF-8\rMSA|AA|S1\r",
		},
		"error with its place": {
			korean, hl7.AE,
			hl7.Receipt{ControlID: "K2", Text: "value | is no number", Err: hl7.ErrDataType, At: "OBX^1^5"},
			"MSH|^~\\&|EMR|CLINIC01|EYEHOST|CLINIC01|||ACK^R01^ACK|K2|P|2.5.1||||||KS X 1001\rMSA|AE|S1|value \\F\\ is no number\rERR||OBX^1^5|102^Data type error^HL70357|E\r",
		},
		"before ERR": {
			"MSH|^~\\&|A^1^ISO|B|C|D|||ORU^R01|7|P|2.3", hl7.AR,
			hl7.Receipt{ControlID: "K3", Err: hl7.ErrInternal},
			"MSH|^~\\&|C|D|A^1^ISO|B|||ACK^R01|K3|P|2.3\rMSA|AR|7\r",
		},
		"2.3.1 and its version id": {
			"MSH|^~\\&|||||||ORU^R01|7|T|2.3.1^DEU", hl7.CA, hl7.Receipt{}, "MSH|^~\\&|||||||ACK^R01^ACK||T|2.3.1^DEU\rMSA|CA|7\r",
		},
		"other delimiters, no id": {
			"MSH*!@%$*A*B*C*D***ORU!R01!ORU_R01**P*2.6", hl7.CE,
			hl7.Receipt{ControlID: "K", Err: hl7.ErrInternal, At: "MSH^1^9", Text: "a*b!c\n"},
			"MSH*!@%$*C*D*A*B***ACK!R01!ACK*K*P*2.6\rMSA*CE**a%F%b%S%c?\rERR**MSH!1!9*207!Application internal error!HL70357*E\r",
		},
		"no version, no event": {"MSH|^~\\&|||||||ORU", hl7.AA, hl7.Receipt{Err: hl7.ErrInternal}, "MSH|^~\\&|||||||ACK|||\rMSA|AA|\r"},
	} {
		m := parse(t, []byte(c.in))
		got := string(hl7.AppendReply(nil, m, c.code, c.r))
		if got != c.want {
			t.Errorf("%s:\n%q, want\n%q", name, got, c.want)
		}
		ack, err := hl7.ParseReply([]byte(got))
		if err != nil || ack.Code != c.code || ack.ID != string(m.Get("MSH-10")) || ack.ControlID != c.r.ControlID {
			t.Errorf("%s: read back %+v, %v", name, ack, err)
		}
	}
	want := "MSH|^~\\&|||||||ACK|K|P|2.5.1\rMSA|AR|\rERR|||207^Application internal error^HL70357|E\r"
	if got := string(hl7.AppendReply(nil, nil, hl7.AR, hl7.Receipt{ControlID: "K", Err: hl7.ErrInternal})); got != want {
		t.Errorf("to nobody:\n%q, want\n%q", got, want)
	}
}

func TestParseReply(t *testing.T) {
	a, err := hl7.ParseReply(sample(t, "ack_ae.hl7"))
	if want := (hl7.Ack{Code: hl7.AE, ID: "S000000421", ControlID: "K00000000AE", Err: "102"}); a != want || err != nil || a.Code.OK() || !hl7.AA.OK() || !hl7.CA.OK() {
		t.Errorf("%+v, %v", a, err)
	}
	for in, want := range map[string]error{
		"": hl7.ErrEmpty, "x": hl7.ErrNotHL7, head: hl7.ErrNotReply, head + "\rMSA": hl7.ErrNotReply, head + "\rMSA|XX|1": hl7.ErrNotReply, head + "\rMSA||1": hl7.ErrNotReply,
	} {
		if a, err := hl7.ParseReply([]byte(in)); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v", in, a, err)
		}
	}
}
