"""A real browser that looks at a page: Debian's chromium, without a window, driven by its chromedriver."""

import json
import shutil

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# What a person would see of a page's texts: the rectangles of each, and what it stands on.
LOOK = (
    """
const isShown = node => {
  const of = node.parentElement;
  if (!node.data.trim() || !of.checkVisibility() || of.closest('svg, title, style')) return false;
  const closed = of.closest('details:not([open])');
  return !closed || of.closest('summary') !== null;
};
const ground = element => {
  for (let of = element; of; of = of.parentElement) {
    const colour = getComputedStyle(of).backgroundColor;
    if (colour !== 'rgba(0, 0, 0, 0)' && colour !== 'transparent') return colour;
  }
  return 'rgb(255, 255, 255)';
};
const texts = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (!isShown(node)) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const of = node.parentElement;
  const card = of.closest('section, header, footer').getBoundingClientRect();
  texts.push({
    text: node.data.trim(),
    scrolls: of.closest('.frame') !== null,
    colour: getComputedStyle(of).color,
    ground: ground(of),
    card: [card.left, card.right],
    boxes: [...range.getClientRects()].filter(box => box.width > 0).map(box => [box.left, box.top, box.right, box.bottom]),
  });
}
return {texts, inner: innerWidth, scroll: document.documentElement.scrollWidth};
"""
)


def program(name):
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(
            f"{name} is not on the PATH, and this test looks at a page in it: make browser, or on Debian "
            "apt-get install chromium chromium-driver"
        )
    return found


class Browser:
    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = program("chromium")
        # CI is root in a container, where Chromium has no sandbox of its own. It loads nothing but files of these tests.
        for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))

    def close(self):
        self.driver.quit()

    def open(self, page, width=1280, dark=False):
        """Opens a file in a window of this width. What was said and asked before is forgotten."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(page.as_uri())
        return self

    def console(self):
        """What the browser had to say of the page."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def requests(self):
        """The URLs that the page made the browser ask for, the page itself not among them."""
        messages = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        asked = [it["params"]["request"]["url"] for it in messages if it["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url != self.driver.current_url]

    def run(self, script):
        return self.driver.execute_script(script)

    def look(self):
        return self.run(LOOK)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return self.driver.find_element("css selector", selector).text

    def screenshot(self, file):
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return innerWidth")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.save_screenshot(str(file))
