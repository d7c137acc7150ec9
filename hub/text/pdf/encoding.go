package pdf

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Encodings of simple fonts, from code 0x20 or 0x80 on: annex D of the
// standard. A space stands for a code without a character.
const (
	ascii = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~•"

	winAnsiHigh = "€•‚ƒ„…†‡ˆ‰Š‹Œ•Ž••‘’“”•–—˜™š›œ•žŸ" +
		" ¡¢£¤¥¦§¨©ª«¬-®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ"

	macRomanHigh = "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨ ÆØ ±  ¥µ     ªº æø" +
		"¿¡¬ ƒ  «»…\u00a0ÀÃÕŒœ–—“”‘’÷ ÿŸ⁄¤‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ"

	standardHigh = "                                 ¡¢£⁄¥ƒ§¤'“«‹›ﬁﬂ –†‡· ¶•‚„”»…‰ ¿ `´ˆ˜¯˘˙¨ ˚¸ ˝˛ˇ—" +
		"                Æ ª    ŁØŒº     æ   ı  łøœß    "
)

// glyphs names the characters of glyphs: lists of names and of characters, in
// step. Letters and digits of ASCII that name themselves are left out.
const (
	glyphNames = "space exclam quotedbl numbersign dollar percent ampersand quotesingle parenleft parenright asterisk plus comma hyphen period slash " +
		"zero one two three four five six seven eight nine colon semicolon less equal greater question at bracketleft backslash bracketright " +
		"asciicircum underscore grave braceleft bar braceright asciitilde " +
		"exclamdown cent sterling currency yen brokenbar section dieresis copyright ordfeminine guillemotleft logicalnot registered macron degree " +
		"plusminus twosuperior threesuperior acute mu paragraph periodcentered cedilla onesuperior ordmasculine guillemotright onequarter onehalf " +
		"threequarters questiondown Agrave Aacute Acircumflex Atilde Adieresis Aring AE Ccedilla Egrave Eacute Ecircumflex Edieresis Igrave Iacute " +
		"Icircumflex Idieresis Eth Ntilde Ograve Oacute Ocircumflex Otilde Odieresis multiply Oslash Ugrave Uacute Ucircumflex Udieresis Yacute Thorn " +
		"germandbls agrave aacute acircumflex atilde adieresis aring ae ccedilla egrave eacute ecircumflex edieresis igrave iacute icircumflex " +
		"idieresis eth ntilde ograve oacute ocircumflex otilde odieresis divide oslash ugrave uacute ucircumflex udieresis yacute thorn ydieresis " +
		"Euro quotesinglbase florin quotedblbase ellipsis dagger daggerdbl circumflex perthousand Scaron guilsinglleft OE Zcaron quoteleft quoteright " +
		"quotedblleft quotedblright bullet endash emdash tilde trademark scaron guilsinglright oe zcaron Ydieresis fi fl ff ffi ffl dotlessi Lslash " +
		"lslash minus fraction Abreve abreve Aogonek aogonek Amacron amacron Cacute cacute Ccaron ccaron Dcaron dcaron Dcroat dcroat Ecaron ecaron " +
		"Eogonek eogonek Emacron emacron Edotaccent edotaccent Gbreve gbreve Iogonek iogonek Imacron imacron Idotaccent Lacute lacute Lcaron lcaron " +
		"Nacute nacute Ncaron ncaron Ohungarumlaut ohungarumlaut Racute racute Rcaron rcaron Sacute sacute Scedilla scedilla Tcaron tcaron " +
		"Uhungarumlaut uhungarumlaut Uring uring Uogonek uogonek Umacron umacron Zacute zacute Zdotaccent zdotaccent " +
		"Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu Nu Xi Omicron Pi Rho Sigma Tau Upsilon Phi Chi Psi Omega " +
		"alpha beta gamma delta epsilon zeta eta theta iota kappa lambda nu xi omicron pi rho sigma1 sigma tau upsilon phi chi psi omega"
	glyphTexts = " !\"#$%&'()*+,-./0123456789:;<=>?@[\\]^_`{|}~¡¢£¤¥¦§¨©ª«¬®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ" +
		"€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸﬁﬂﬀﬃﬄıŁł−⁄ĂăĄąĀāĆćČčĎďĐđĚěĘęĒēĖėĞğĮįĪīİĹĺĽľŃńŇňŐőŔŕŘřŚśŞşŤťŰűŮůŲųŪūŹźŻż" +
		"ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλνξοπρςστυφχψω"
)

// encoding is what the 256 codes of a simple font mean.
type encoding [256]string

func makeEncoding(high string) (e encoding) {
	e.fill(0x20, ascii)
	e.fill(0x100-utf8.RuneCountInString(high), high)
	return e
}

func (e *encoding) fill(code int, texts string) {
	for _, r := range texts {
		e[code] = string(r)
		code++
	}
}

func winAnsi() encoding { return makeEncoding(winAnsiHigh) }

func macRoman() encoding { return makeEncoding(macRomanHigh) }

func standard() encoding {
	e := makeEncoding(standardHigh)
	e['\''], e['`'] = "’", "‘"
	return e
}

// glyphTable returns the characters of glyphs by name.
func glyphTable() map[string]string {
	table := map[string]string{}
	texts := []rune(glyphTexts)
	for i, glyph := range strings.Fields(glyphNames) {
		table[glyph] = string(texts[i])
	}
	return table
}

// glyphText returns the text of a glyph by the rules of Adobe's glyph list;
// "" if its name says nothing.
func glyphText(table map[string]string, glyph string) (text string) {
	glyph, _, _ = strings.Cut(glyph, ".")
	for part := range strings.SplitSeq(glyph, "_") {
		digits, isUni := strings.CutPrefix(part, "uni")
		switch {
		case table[part] != "":
			text += table[part]
		case len(part) == 1:
			text += part
		case isUni && len(digits) >= 4 && len(digits)%4 == 0:
			text += textOf(str(unhex([]byte(digits))))
		case len(part) >= 5 && len(part) <= 7 && part[0] == 'u':
			if code, err := strconv.ParseUint(part[1:], 16, 32); err == nil && code <= utf8.MaxRune {
				text += string(rune(code))
			}
		}
	}
	return text
}
