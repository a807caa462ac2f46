package xmlexam

import (
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// maxObservations is the most findings of one exam: no instrument comes near, and it bounds the memory of a forged file.
const maxObservations = 2048

// Draft is an exam in the making from one Doc. A decoder fills it block by block and then calls Finish; a finding that
// is asked for and not in the document is simply not added.
type Draft struct {
	Exam     *exam.Exam
	doc      *Doc
	data     []byte
	head     int  // observations that are no findings: running number, age, duration
	full     bool // more than maxObservations
	fragment bool
	nobody   bool // see Anonymous
}

// NewDraft begins the exam of doc, which was parsed from data.
func NewDraft(doc *Doc, data []byte) *Draft {
	size := min(len(doc.nodes), maxObservations)
	return &Draft{Exam: &exam.Exam{Observations: make([]exam.Observation, 0, size)}, doc: doc, data: data}
}

// Key is what an observation says besides its value.
type Key struct {
	Code, Eye, Method string
	Seq               int
}

// At is the same key at another code.
func (k Key) At(code string) Key {
	k.Code = code
	return k
}

// Near gives the method of k its near form.
func (k Key) Near() Key {
	k.Method += exam.Near
	return k
}

// Number adds the numeric finding in n, see the function Number; a blank or dashed one is none. It says whether it added one.
func (d *Draft) Number(n Node, k Key) bool { return d.NumberIn(n, k, "") }

// NumberIn is Number for an element whose own unit is unit where its attribute does not say.
func (d *Draft) NumberIn(n Node, k Key, unit string) bool {
	raw := n.Raw()
	if IsNothing(raw) {
		return false
	}
	if declared := n.Attr("unit", "Unit"); declared != "" {
		unit = declared
	}
	return d.put(k, Number(raw, k.Code, unit), raw)
}

// Signed is Number for an amount whose sign stands elsewhere, in the word base: the first letter of in and up is +, of
// out and down -. An amount other than 0 without such a word keeps its own sign, with a warning.
func (d *Draft) Signed(n Node, k Key, base string) bool {
	raw := n.Raw()
	if IsNothing(raw) {
		return false
	}
	v := Number(raw, k.Code, "")
	base = strings.TrimSpace(base)
	f, isNumber := v.Float()
	switch {
	case base != "" && strings.ContainsAny(base[:1], "iIuU"):
		raw += " " + base
	case base != "" && strings.ContainsAny(base[:1], "oOdD"):
		raw += " " + base
		if isNumber {
			v = exam.Number(-f)
		}
	case f != 0 || !isNumber:
		d.Exam.Warn(exam.WarnPrismSignUndocumented)
	}
	return d.put(k, v, raw)
}

// Text adds the finding in n as text, without the blanks around it.
func (d *Draft) Text(n Node, k Key) bool {
	raw := n.Raw()
	text := strings.TrimSpace(raw)
	return text != "" && d.put(k, exam.Text(text), raw)
}

// Acuity adds a visual acuity: va, or va_ext where letters are counted after it (0.8+2).
func (d *Draft) Acuity(n Node, k Key) bool {
	raw := n.Raw()
	text := strings.ReplaceAll(normalDecimal(strings.TrimSpace(raw)), " ", "")
	if IsNothing(text) {
		return false
	}
	if i := strings.LastIndexAny(text, "+-"); i > 0 && i < len(text)-1 && k.Code == exam.CodeVA {
		k.Code = exam.CodeVAExt
	}
	return d.put(k, exam.ParseValue(k.Code, text), raw)
}

// Add adds a finding whose value was computed; text is what was sent.
func (d *Draft) Add(k Key, v exam.Value, text string) bool { return d.put(k, v, text) }

// put is the only way into the exam. A second finding with the same key keeps its value under the next free number of
// that key, with a warning: which of the two is right is not for a parser to say.
func (d *Draft) put(k Key, v exam.Value, sent string) bool {
	e := d.Exam
	if len(e.Observations) == maxObservations {
		d.full = true
		return false
	}
	if next, taken := d.nextSeq(k); taken {
		k.Seq = next
		e.Warn(exam.WarnDuplicate)
	}
	unit, _ := exam.UnitOf(k.Code)
	if sent == v.String() {
		sent = ""
	}
	e.Observations = append(e.Observations, exam.Observation{
		Code: k.Code, Eye: k.Eye, Method: k.Method, Seq: k.Seq, Value: v, Unit: unit, Text: sent,
	})
	return true
}

func (d *Draft) nextSeq(k Key) (next int, taken bool) {
	for i := range d.Exam.Observations {
		o := &d.Exam.Observations[i]
		if o.Eye == k.Eye && o.Code == k.Code && o.Method == k.Method {
			taken = taken || o.Seq == k.Seq
			next = max(next, o.Seq+1)
		}
	}
	return next, taken
}

// EndHead says that what was added so far describes the sitting and is no finding.
func (d *Draft) EndHead() { d.head = len(d.Exam.Observations) }

// Fragment says that the document is a part of what the instrument should have sent.
func (d *Draft) Fragment() { d.fragment = true }

// Anonymous says that the format has no place for a patient's id: that there is none is not worth a warning.
func (d *Draft) Anonymous() { d.nobody = true }

// Skip marks everything in n as known and without a place in the record.
func (d *Draft) Skip(n Node) {
	if n.IsLeaf() {
		n.doc.nodes[n.at].read = true
	}
	for c := range n.Children() {
		d.Skip(c)
	}
}

// Finish makes the result: the exam with its warnings, or a reject where nothing was found in it. A value that nobody
// asked for, and that is no setting of the instrument, raises the warning unknown_segment.
func (d *Draft) Finish(opt Options) exam.Result {
	unknown := false
	for n := range d.doc.Roots() {
		unknown = unknown || hasUnread(n)
	}
	switch {
	case d.full, d.doc.left < 0:
		return rejected(d.data, exam.RejectTooLarge, "more findings than an exam can have")
	case len(d.Exam.Observations) == d.head && !unknown:
		return rejected(d.data, exam.RejectEmpty, "no finding in it")
	}
	found := d.Exam.Warnings
	d.Exam.Warnings = nil
	if d.Exam.Patient.ID == "" && !d.fragment && !d.nobody {
		d.Exam.Warn(exam.WarnPatientIDBlank)
	}
	for _, w := range found {
		d.Exam.Warn(w)
	}
	d.warnIf(unknown, exam.WarnUnknownSegment)
	d.warnIf(d.attachmentAbsent(opt.HasFile), exam.WarnAttachmentAbsent)
	d.warnIf(d.fragment, exam.WarnXMLFragment)
	d.warnIf(d.doc.text.Mislabelled, exam.WarnEncodingMislabelled)
	d.warnIf(d.doc.text.Undeclared, exam.WarnCharsetUndeclared)
	return exam.Result{Exams: []*exam.Exam{d.Exam}}
}

func (d *Draft) warnIf(yes bool, word string) {
	if yes {
		d.Exam.Warn(word)
	}
}

func (d *Draft) attachmentAbsent(hasFile func(string) bool) bool {
	for i := range d.Exam.Observations {
		if o := &d.Exam.Observations[i]; o.Code == exam.CodeAttachment && (hasFile == nil || !hasFile(o.Value.String())) {
			return true
		}
	}
	return false
}

// Decode parses one whole file and has a format's reader make its exam; what is no XML is a reject with the whole file as its extent.
func Decode(data []byte, opt Options, read func(doc *Doc, data []byte, opt Options) exam.Result) exam.Result {
	doc, fault := Parse(data, opt)
	if fault != nil {
		return Rejected(fault)
	}
	return read(doc, data, opt)
}

// Unfit is the result for a well-formed document that is not of the decoder's format.
func Unfit(data []byte) exam.Result {
	return rejected(data, exam.RejectMalformedXML, "root element is not of a known format")
}

// Rejected is the result that says no more than r.
func Rejected(r *exam.Reject) exam.Result { return exam.Result{Rejects: []exam.Reject{*r}} }

func rejected(data []byte, reason, detail string) exam.Result {
	return Rejected(reject(data, reason, detail))
}

// hasUnread looks for a value that nobody read.
func hasUnread(n Node) bool {
	if isSetting(n) {
		return false
	}
	if n.hasValue() && !n.wasRead() {
		return true
	}
	for c := range n.Children() {
		if hasUnread(c) {
			return true
		}
	}
	return false
}

// isSetting says that an element is about how the instrument was set or who used it; the raw file keeps it.
func isSetting(n Node) bool {
	switch string(n.local()) {
	case "ROMVersion", "Version", "Comment", "Operator", "DiopterStep", "AxisStep", "CylinderMode", "PrismStep", "PrismMode",
		"AddMode", "MeasureMode", "LensType", "RefractiveIndex", "CataractMode", "IOLMode", "RL_Order", "ReferenceInstance",
		"DateFormat", "Param1", "Param2", "Measured", "NIDEK", "Length", "ChannelWidth":
		return true
	}
	return false
}
