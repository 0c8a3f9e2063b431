// A native slider: the browser's own keys, focus and voice, and no wait for the server while it is dragged.
export default {
  template: `<input type="range" min="0" :max="steps" step="1" :value="value"
    @input="$emit('update:value', Number($event.target.value))" />`,
  props: { value: Number, steps: Number },
};
